"""Serve an ensemble over HTTP: a front checks and batches requests, and a model application computes the
predictions."""
