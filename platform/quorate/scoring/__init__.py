"""Predict and evaluate files offline."""
