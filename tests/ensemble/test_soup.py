"""The greedy soup is what going through the recipe by hand gives, and no worse than its best network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, combinations

import numpy as np
import pytest

from quorate.ensemble.soup import GreedySoup, greedy_soup


def distance(weights: np.ndarray, target: np.ndarray):
    """The loss of the average of some of the weights (n, d): its squared distance to the target."""
    return lambda taken: float(((weights[list(taken)].mean(axis=0) - target) ** 2).sum())


def chosen(losses: list[float], loss_of: Callable[[tuple[int, ...]], float]) -> GreedySoup:
    """The greedy choice with these losses of averages."""
    steps = greedy_soup(losses)
    try:
        tried = next(steps)
        while True:
            tried = steps.send(loss_of(tried))
    except StopIteration as end:
        found: GreedySoup = end.value
        return found


def every_subset(n: int):
    return chain.from_iterable(combinations(range(n), size) for size in range(1, n + 1))


def test_greedy_averaging_equals_a_manual_calculation() -> None:
    # given: on a line, with the target at 0
    weights = np.array([[3.0], [-1.0], [1.5], [10.0]])
    loss_of = distance(weights, np.zeros(1))

    # when
    found = chosen([loss_of((i,)) for i in range(4)], loss_of)

    # then: -1 first; with 1.5 the mean is .25; with 3 it would be 1.17, with 10 3.5
    assert found.order == (1, 2, 0, 3)
    assert found.taken == (1, 2)
    assert found.loss == pytest.approx(0.0625)


def test_an_equally_good_average_is_taken_and_the_earlier_of_equals_is_tried_first() -> None:
    found = chosen([1.0, 1.0, 2.0], lambda taken: 1.0)

    assert found.order == (0, 1, 2)
    assert found.taken == (0, 1, 2)


def test_it_finds_the_best_of_all_subsets_if_every_helpful_pair_is_tried() -> None:
    weights = np.array([[-1.0, 0.2], [1.1, -0.1], [4.0, 4.0], [-6.0, 3.0]])
    loss_of = distance(weights, np.zeros(2))

    found = chosen([loss_of((i,)) for i in range(4)], loss_of)

    best = min(every_subset(4), key=loss_of)
    assert set(found.taken) == set(best)
    assert found.loss == loss_of(best)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_between_the_best_member_and_the_best_of_all_subsets(seed: int) -> None:
    random = np.random.default_rng(seed)
    loss_of = distance(random.normal(size=(5, 3)), random.normal(size=3) * 0.3)
    losses = [loss_of((i,)) for i in range(5)]

    found = chosen(losses, loss_of)

    assert min(map(loss_of, every_subset(5))) - 1e-12 <= found.loss <= min(losses)
    assert found.loss == loss_of(found.taken)
    assert found.taken[0] == int(np.argmin(losses))
