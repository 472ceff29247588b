"""The optimal weights against a grid, SLSQP and the conditions that only an optimum meets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from tests.ensemble.samples import labels, member, members

from quorate.ensemble.simplex import optimal_weights


def sample(seed: int, skills):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=250, classes=3)
    proba = members(rng, y, classes=3, skills=skills)
    return proba, y, proba[:, np.arange(len(y)), y]


def fit(proba, y):
    return optimal_weights(members=proba, y=y)


@pytest.mark.parametrize("seed", range(5))
def test_two_weights_equal_the_best_of_a_fine_grid(seed):
    proba, y, true = sample(seed, skills=(1.0, 1.2))
    grid = np.linspace(0, 1, 10_001)
    losses = [-np.log(first * true[0] + (1 - first) * true[1]).mean() for first in grid]

    weights = fit(proba, y)

    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(grid[np.argmin(losses)], abs=2e-4)


@pytest.mark.parametrize("seed", range(5))
def test_three_weights_equal_those_of_slsqp(seed):
    # given
    proba, y, true = sample(seed, skills=(0.8, 1.0, 1.2))
    reference = minimize(
        lambda w: -np.log(w @ true).mean(),
        np.full(3, 1 / 3),
        jac=lambda w: -(true / (w @ true)).mean(axis=1),
        method="SLSQP",
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14},
    )

    # when
    weights = fit(proba, y)

    # then
    assert weights == pytest.approx(reference.x, abs=1e-4)
    assert -np.log(weights @ true).mean() <= reference.fun + 1e-10


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_weights_satisfy_the_karush_kuhn_tucker_conditions(seed, count):
    proba, y, true = sample(seed, skills=np.linspace(0, 2, count))

    weights = fit(proba, y)

    # the Karush-Kuhn-Tucker conditions of the problem: u <= 1, and u = 1 where weight is
    pull = (true / (weights @ true)).mean(axis=1)
    assert (weights >= 0).all()
    assert pull.max() <= 1 + 1e-7
    assert pull[weights > 1e-6] == pytest.approx(1, abs=1e-4)


def test_identical_members_are_allowed():
    proba, y, _true = sample(0, skills=(1.0, 1.2))
    alone = fit(proba, y)

    weights = fit(proba[[0, 0, 1, 1]], y)

    assert weights.sum() == pytest.approx(1)
    assert weights[:2].sum() == pytest.approx(alone[0], abs=1e-4)


def test_a_perfect_member_among_wrong_ones_takes_all_weight():
    rng = np.random.default_rng(0)
    y = labels(rng, rows=100, classes=3)
    wrong = np.eye(3)[(y + 1) % 3]
    noise = member(rng, y, classes=3, skill=0)

    weights = fit(np.stack([wrong, np.eye(3)[y], noise]), y)

    assert weights == pytest.approx([0, 1, 0], abs=1e-9)
