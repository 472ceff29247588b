"""The greedy choice of whose weights are averaged: a model stays in where the average does not get worse by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GreedySoup:
    """The ingredients in the order in which they were tried, those that were taken, and the average's loss."""

    order: tuple[int, ...]
    taken: tuple[int, ...]
    loss: float


def greedy_soup(*, losses: Sequence[float], loss_of: Callable[[tuple[int, ...]], float]) -> GreedySoup:
    """Wortsman et al. 2022, "Model soups", recipe 1.

    `losses` are of each ingredient alone, `loss_of` gives that of the average of several, all on the same rows. The
    first ingredient is the best one; among equals the earlier is tried first.
    """
    order = tuple(np.argsort(np.asarray(losses, np.float64), kind="stable").tolist())
    taken, best = order[:1], float(losses[order[0]])
    for ingredient in order[1:]:
        found = loss_of((*taken, ingredient))
        if found <= best:
            taken, best = (*taken, ingredient), found
    return GreedySoup(order, taken, best)
