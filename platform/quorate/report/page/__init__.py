"""The page of a finished run: one HTML file with everything that a person looks at to understand it."""
