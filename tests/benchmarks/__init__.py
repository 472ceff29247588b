"""Measured comparisons; `make bench` runs them and prints ratios, which hold where a machine's speed drifts."""
