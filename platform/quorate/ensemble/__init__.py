"""Ensemble mathematics on probabilities: metrics, calibration, combiners, and their cross-fitted estimates."""
