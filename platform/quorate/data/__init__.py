"""Datasets, their sources, folds, standardization and augmentation."""
