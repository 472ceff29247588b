"""Ensemble mathematics on probabilities: metrics, calibration, combiners, and cross-fitted estimates of all of them."""
