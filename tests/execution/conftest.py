"""Tests of executors share one Ray."""

from tests.ray_fixture import ray_session  # noqa: F401
