"""Scripts that turn raw data into labelled folders; what they share lies in common/data."""
