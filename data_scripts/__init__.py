"""Raw data to labelled folders; imports nothing from the rest of the project."""
