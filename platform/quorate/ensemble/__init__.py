"""Ensemble mathematics on probabilities: metrics, calibration, combiners and an honest estimate of them."""
