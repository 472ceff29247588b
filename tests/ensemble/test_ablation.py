"""The value of members, compared with combinations that are made without them and with every subset."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from tests.ensemble.samples import labels, members

from quorate.ensemble.ablation import Ablation
from quorate.ensemble.assemble import assemble
from quorate.registry import COMBINERS


def ablation_of(
    skills=(0.3, 1.0, 1.5, 2.0), *, kind: str = "calibrated_greedy", rows: int = 240, seed: int = 0
) -> Ablation:
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=3)
    made = COMBINERS.get(kind)
    return Ablation.of(proba=members(rng, y, classes=3, skills=skills), y=y, combiner=made(made.Params()), seed=3)


def nll_of(asked: Ablation, chosen) -> float:
    """The cross-fitted log-loss that `assemble` gives for these members."""
    proba = asked.proba[list(chosen)]
    mask = np.ones(proba.shape[:2], dtype=bool)
    return assemble(proba=proba, mask=mask, y=asked.y, combiner=asked.combiner, seed=asked.seed).combiner_nll


def test_the_value_of_a_member_is_the_loss_of_the_ensemble_without_it():
    asked = ablation_of()
    whole = nll_of(asked, range(4))

    found = asked.without_each()

    for gone in range(4):
        rest = [m for m in range(4) if m != gone]
        assert found[gone].nll == pytest.approx(nll_of(asked, rest) - whole, abs=1e-12)
    assert found[3].nll == max(change.nll for change in found)
    assert found[3].nll > 2 * found[3].nll_error > 0


def test_one_of_two_identical_members_can_be_removed_without_loss():
    asked = ablation_of()
    twins = Ablation(np.concatenate([asked.proba, asked.proba[3:]]), asked.y, asked.combiner, asked.parts, asked.seed)

    found = twins.without_each()

    assert found[4].nll == pytest.approx(0, abs=1e-9) and found[4].accuracy == 0


def test_the_errors_are_those_of_the_paired_difference():
    asked = ablation_of()
    whole, rest = asked.estimate(range(4)), asked.estimate([1, 2, 3])

    change = rest.against(whole)

    assert change.nll_error == pytest.approx(np.std(rest.losses - whole.losses, ddof=1) / np.sqrt(240))
    assert change.accuracy == pytest.approx(rest.right.mean() - whole.right.mean())


@pytest.mark.parametrize("seed", range(3))
def test_dropping_one_after_another_comes_close_to_the_best_subset_of_each_size(seed):
    asked = ablation_of((0.5, 0.8, 1.1, 1.4, 1.7), kind="mean", seed=seed)

    steps = {len(step.left): step.change.nll for step in asked.eliminate(np.ones(5), by_cost=False)}

    assert sorted(steps) == [1, 2, 3, 4, 5]
    whole = nll_of(asked, range(5))
    for size in (1, 2, 3, 4):
        best = min(nll_of(asked, chosen) - whole for chosen in combinations(range(5), size))
        assert best - 1e-12 <= steps[size] <= best + 0.02


def test_of_two_equally_good_members_the_expensive_one_is_removed_first():
    # given: the last two are nearly the same
    asked = ablation_of((1.0, 1.5, 1.5), kind="mean")
    asked.proba[2] = 0.999 * asked.proba[1] + 0.001 / 3

    _, first, *_ = asked.eliminate(np.array([1.0, 1.0, 50.0]))

    assert first.left == (0, 1)
    assert first.cost == 2
