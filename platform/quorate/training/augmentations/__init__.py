"""The augmentations that a job file can name, one module each."""
