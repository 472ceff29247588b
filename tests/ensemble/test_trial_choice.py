"""Choices among the trials of a search, and their honest estimates."""

from __future__ import annotations

import numpy as np
import pytest

from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.objectives import loss
from quorate.ensemble.trial_choice import best_trial, evaluated, greedy_trials, top_trials
from quorate.registry import COMBINERS

COMBINER = combiner_of(COMBINERS.get("calibrated_greedy").Params(kind="calibrated_greedy"))


def trials(number: int, rows: int, *, skill: float, seed: int):
    """Equally good trials, whose errors are independent."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    logits = random.normal(size=(number, rows, 3)) + skill * np.eye(3)[y]
    proba = np.exp(logits)
    return proba / proba.sum(axis=2, keepdims=True), y


def test_the_best_of_equal_trials_looks_better_than_it_is_and_the_honest_loss_shows_it():
    honest, looked, true = [], [], []
    for seed in range(10):
        proba, y = trials(40, 200, skill=1.0, seed=seed)
        new, labels = trials(40, 4_000, skill=1.0, seed=1000 + seed)
        choice = evaluated(best_trial("nll"), proba=proba, y=y, objective="nll", seed=seed)
        honest.append(choice.honest_loss)
        looked.append(choice.loss)
        true.append(loss("nll", new[choice.chosen[0]], labels))

    error = np.std(np.array(honest) - true) / np.sqrt(10)
    assert np.mean(looked) < np.mean(true) - 0.05
    assert abs(np.mean(honest) - np.mean(true)) < 3 * error


def test_several_trials_are_chosen_by_rules_that_differ():
    proba, y = trials(12, 400, skill=1.0, seed=3)
    proba[1] = proba[0] * 0.999 + 0.001 / 3  # a copy of the best one adds nothing
    proba[0:2] = proba[0:2] ** 1.3 / (proba[0:2] ** 1.3).sum(axis=2, keepdims=True)

    greedy = evaluated(greedy_trials(3, "nll", COMBINER), proba=proba, y=y, objective="nll", seed=0)
    top = evaluated(top_trials(3, "nll", COMBINER), proba=proba, y=y, objective="nll", seed=0)
    best = evaluated(best_trial("nll"), proba=proba, y=y, objective="nll", seed=0)

    assert len(greedy.chosen) <= 3 and len(best.chosen) == 1
    assert greedy.combination.weights.sum() == pytest.approx(1)
    assert greedy.honest_loss < best.honest_loss and top.honest_loss < best.honest_loss
    assert greedy.honest_error is not None and greedy.honest_error > 0


def test_an_objective_that_is_no_mean_over_rows_has_no_standard_error():
    proba, y = trials(3, 100, skill=1.0, seed=0)

    assert evaluated(best_trial("auc"), proba=proba, y=y, objective="auc", seed=0).honest_error is None
