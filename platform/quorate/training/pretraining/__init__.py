"""Pretraining without labels: one module for each kind, and the phase that runs it before the training."""
