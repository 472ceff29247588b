"""Executors: the same contract in this process and on a Ray cluster."""
