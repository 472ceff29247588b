"""Score and evaluate files without a service."""
