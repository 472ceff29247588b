"""Pretraining without labels: one module per kind, and the phase that runs it before the training."""
