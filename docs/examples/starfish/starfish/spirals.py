"""Pictures of arms of two spirals that turn to the left or to the right."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field


def spirals(
    *,
    rows: Annotated[int, Field(ge=8)] = 1000,
    side: Annotated[int, Field(ge=8, le=64)] = 16,
    noise: Annotated[float, Field(ge=0, le=1)] = 0.4,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 pictures (rows, side, side) and the words `left` and `right`, in turn."""
    random = np.random.default_rng(seed)
    y = np.where(np.arange(rows) % 2, "right", "left")
    turn = np.where(y == "right", 1.0, -1.0)[:, None]
    along = np.linspace(0.15, 1, 4 * side)
    angle = turn * (random.uniform(0.6, 0.9, (rows, 1)) * 2 * np.pi * along) + random.uniform(0, 2 * np.pi, (rows, 1))
    centre = random.uniform(0.4, 0.6, (2, rows, 1)) * side
    x, z = (centre[i] + along * side / 2.2 * wave(angle) for i, wave in enumerate((np.cos, np.sin)))
    pixels = random.uniform(0, 255 * noise, (rows, side, side))
    at = tuple(np.clip(np.rint(part).astype(int), 0, side - 1) for part in (z, x))
    pixels[(np.arange(rows)[:, None], *at)] = 255
    return pixels.astype(np.uint8), y
