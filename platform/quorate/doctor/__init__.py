"""The checks of `quorate doctor`: this machine, installed software, and services."""
