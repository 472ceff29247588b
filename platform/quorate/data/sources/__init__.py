"""The data kinds that a job file can name, one module each."""
