"""Tests of what is asked of members and runs beside training."""
