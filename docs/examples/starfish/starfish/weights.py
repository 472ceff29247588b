"""Weights by accuracy."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field


def by_accuracy(proba: np.ndarray, y: np.ndarray, *, power: Annotated[float, Field(ge=0)] = 4.0) -> np.ndarray:
    """(members,) of the members' probabilities (members, rows, classes): their accuracies to the `power`."""
    return (proba.argmax(axis=2) == y).mean(axis=1) ** power
