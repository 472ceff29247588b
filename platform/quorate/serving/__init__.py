"""The ensemble behind HTTP: a front that checks and batches requests, and the model application behind it."""
