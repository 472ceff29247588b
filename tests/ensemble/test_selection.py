"""Greedy selection against exhaustive search and against a plain reading of the papers."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from tests.ensemble.samples import labels, member, members

from quorate.ensemble.objectives import search_loss
from quorate.ensemble.selection import greedy_selection

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, *, rows: int = 150, skills=(0.5, 1.0, 1.2, 1.3)):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=3)
    return members(rng, y, classes=3, skills=skills), y


def loss_of(weights, proba, y):
    return log_loss(y, np.tensordot(weights, proba, axes=1), labels=range(3))


def caruana(proba, y, rounds):
    """The paper's loop, word for word: try every member, keep the best, remember the best ensemble."""
    bag: list[int] = []
    best_loss, best_bag = np.inf, bag
    for _ in range(rounds):
        trials = [[*bag, candidate] for candidate in range(len(proba))]
        bag = min(trials, key=lambda trial: log_loss(y, proba[trial].mean(axis=0), labels=range(3)))
        loss = log_loss(y, proba[bag].mean(axis=0), labels=range(3))
        if loss < best_loss - 1e-12:
            best_loss, best_bag = loss, bag
    return np.bincount(best_bag, minlength=len(proba)) / len(best_bag)


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_greedy_selection_follows_the_paper_step_by_step(seed):
    proba, y = sample(seed, rows=77)

    weights = greedy_selection(members=proba, y=y, rounds=12)

    assert weights == pytest.approx(caruana(proba, y, 12))


@pytest.mark.parametrize("seed", range(5))
def test_greedy_selection_comes_close_to_the_best_of_all_multisets(seed):
    # given
    proba, y = sample(seed)

    # when
    weights = greedy_selection(members=proba, y=y, rounds=6)

    # then
    everything = [
        np.bincount(bag, minlength=4) / size
        for size in range(1, 7)
        for bag in combinations_with_replacement(range(4), size)
    ]
    best = min(loss_of(candidate, proba, y) for candidate in everything)
    singles = min(loss_of(single, proba, y) for single in np.eye(4))
    assert best <= loss_of(weights, proba, y) + 1e-12
    assert loss_of(weights, proba, y) - best <= 0.05 * (singles - best) + 1e-3


def test_the_best_prefix_is_kept_if_later_rounds_increase_the_loss():
    # given: one good member among noise, and so many rounds that nothing else can join for the better
    rng = np.random.default_rng(0)
    y = labels(rng, rows=200, classes=3)
    good = member(rng, y, classes=3, skill=6)
    noise = member(rng, y, classes=3, skill=0, sharpness=4)

    weights = greedy_selection(members=np.stack([noise, good]), y=y, rounds=25)

    assert weights.tolist() == [0.0, 1.0]


def test_ties_go_to_members_already_in():
    # given: members 0 and 1 predict the same and complement member 2
    proba, y = sample(4, skills=(1.0, 1.0))
    twins = np.stack([proba[0], proba[0], proba[1]])

    weights = greedy_selection(members=twins, y=y, rounds=50)

    assert weights[0] > 0
    assert weights[1] == 0
    assert weights[2] > 0


def test_rounds_bound_the_denominator_of_the_weights():
    proba, y = sample(2)

    weights = greedy_selection(members=proba, y=y, rounds=3)

    assert any(weights * size == pytest.approx(np.round(weights * size)) for size in (1, 2, 3))
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("objective", ["nll", "accuracy", "balanced_accuracy", "macro_f1", "auc", "brier"])
@pytest.mark.parametrize("seed", range(3))
def test_the_selection_is_near_the_best_multiset_by_any_objective(objective, seed):
    proba, y = sample(seed, rows=90)

    weights = greedy_selection(members=proba, y=y, rounds=5, objective=objective)

    everything = [
        np.bincount(bag, minlength=4) / size
        for size in range(1, 6)
        for bag in combinations_with_replacement(range(4), size)
    ]
    losses = [search_loss(objective, np.tensordot(candidate, proba, axes=1), y) for candidate in everything]
    found = search_loss(objective, np.tensordot(weights, proba, axes=1), y)
    singles = min(search_loss(objective, member, y) for member in proba)
    assert min(losses) - 1e-12 <= found <= singles + 1e-12
    assert found - min(losses) <= 0.34 * (singles - min(losses)) + 0.012  # one row of 90


def test_a_reward_for_diversity_follows_its_formula():
    proba, y = sample(1)

    def rewarded(bag):
        average = log_loss(y, proba[bag].mean(axis=0), labels=range(3))
        return average - 0.7 * (np.mean([log_loss(y, proba[m], labels=range(3)) for m in bag]) - average)

    bag: list[int] = []
    losses = []
    for _ in range(8):
        bag = min(([*bag, candidate] for candidate in range(4)), key=rewarded)
        losses.append(log_loss(y, proba[bag].mean(axis=0), labels=range(3)))
    size = int(np.argmin(losses)) + 1

    weights = greedy_selection(members=proba, y=y, rounds=8, diversity=0.7)

    assert weights == pytest.approx(np.bincount(bag[:size], minlength=4) / size)


def test_many_rows_are_sampled_by_the_seed():
    # given: members that are good on different rows, more rows than the limit
    proba, y = sample(6, rows=400, skills=(1.0, 1.0, 1.0, 1.0))

    def choose(seed, most_rows=100):
        return greedy_selection(members=proba, y=y, seed=seed, most_rows=most_rows)

    assert (choose(1) == choose(1)).all()
    assert any((choose(1) != choose(other)).any() for other in (2, 3, 4))
    assert (choose(1, most_rows=400) == choose(2, most_rows=400)).all()


def test_a_hundred_confident_and_wrong_members_do_not_underflow():
    # given: every member gives the label the least probability there is
    proba = np.tile(np.array([[1.0, 0.0]]), (100, 33, 1))

    weights = greedy_selection(members=proba, y=np.ones(33, dtype=np.int64))

    assert weights.sum() == pytest.approx(1)
    assert np.isfinite(weights).all()
