"""`python -m tests.benchmarks`."""

from tests.benchmarks import training

training.main()
