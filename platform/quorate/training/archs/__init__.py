"""The architectures that a job file can name, one module each."""
