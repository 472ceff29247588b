"""Greedy soup: choose the models whose weights are averaged. A model is kept if it does not make the average worse."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GreedySoup:
    """The networks in the order in which they were tried, those that were kept, and the loss of their average."""

    order: tuple[int, ...]
    taken: tuple[int, ...]
    loss: float


def greedy_soup(losses: Sequence[float]) -> Generator[tuple[int, ...], float, GreedySoup]:
    """Choose networks greedily (Wortsman et al. 2022, "Model soups", recipe 1).

    `losses` are the losses of the single networks. The generator yields the networks of each average that it tries; the
    caller sends the loss of this average. All losses are on the same rows. The networks are tried from the lowest loss
    to the highest; among equals the earlier one is tried first.
    """
    order = tuple(np.argsort(np.asarray(losses, np.float64), kind="stable").tolist())
    taken, best = order[:1], float(losses[order[0]])
    for network in order[1:]:
        found = yield (*taken, network)
        if found <= best:
            taken, best = (*taken, network), found
    return GreedySoup(order, taken, best)
