"""Datasets, their sources, folds and standardization."""
