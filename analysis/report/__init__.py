"""The page of a study: its HTML, CSS and JavaScript, and what fills it."""
