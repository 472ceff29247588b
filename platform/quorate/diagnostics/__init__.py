"""Checks of members and runs: learning rate range test, overfit test, and evidence for a diagnosis."""
