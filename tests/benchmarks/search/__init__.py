"""Measures hyperparameter search; see `tests.benchmarks.search.__main__`."""
