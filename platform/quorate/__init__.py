"""Quorate trains ensembles of diverse classifiers on a cluster and serves their combined prediction."""

__version__ = "0.1.0"
