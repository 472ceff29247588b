"""Open data, and split and standardize it."""
