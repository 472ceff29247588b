"""At every level, rows of a group stay together and unlearnable rows do not count."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ensemble.samples import labels, members

from quorate.ensemble import objectives
from quorate.ensemble.assemble import Assembly, assemble
from quorate.ensemble.calibrator import calibrator_of
from quorate.ensemble.choice import simplest_within_one_error
from quorate.ensemble.crossfit import parts_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.metrics import row_nll
from quorate.ensemble.paired import paired_difference
from quorate.registry import CALIBRATIONS, COMBINERS

KINDS = COMBINERS.names()
QUICK = [kind for kind in KINDS if kind != "auto"]
"""`auto` fits all others some twenty times over."""
SPLITTING = ("auto", "diverse_greedy", "stacking")


@cache
def combiner(kind: str, **values: object):
    made = COMBINERS.get(kind)
    return made(made.Params.model_validate({"kind": kind, **values}))


def full(proba):
    return np.ones(proba.shape[:2], dtype=bool)


def with_rows_of_an_unknown_class(seed: int, *, rows: int = 120, lost: int = 15):
    """Members of rising skill for three classes; the last rows are of a fourth, which they hardly think of."""
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=3)
    proba = members(rng, y, classes=3, skills=(0.6, 1.2, 3.0))
    # the best member is the surest that the fourth class is not there
    rare = np.broadcast_to(np.array([0.05, 0.01, 1e-12])[:, None, None], (3, rows, 1))
    proba = np.concatenate([proba * (1 - rare), rare], axis=2)
    y[-lost:] = 3
    return proba, y, np.arange(rows) < rows - lost


def bits(made: Assembly) -> tuple[object, ...]:
    return made.combination.to_json(), made.crossfit_proba.tobytes(), made.best_single, made.guarded, made.scores


def test_predictions_for_an_unlearnable_class_do_not_change_the_best_member():
    proba, y, learnable = with_rows_of_an_unknown_class(0, lost=50)

    made, misled = (
        assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("best_single"), seed=0, learnable=counting)
        for counting in (learnable, None)
    )

    assert made.best_single == 2 and made.combination.weights.tolist() == [0, 0, 1]
    assert misled.best_single != 2
    assert made.rows.tolist() == learnable.tolist()
    assert np.isnan(made.crossfit_proba[~learnable]).all() and np.isnan(made.row_losses[~learnable]).all()


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) if kind in ("auto", "stacking") else kind for kind in KINDS)]
)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
def test_rows_that_do_not_count_have_no_influence(kind, seed):
    proba, y, learnable = with_rows_of_an_unknown_class(1, rows=60)
    rng = np.random.default_rng(seed)
    other, labelled = proba.copy(), y.copy()
    other[:, ~learnable] = rng.dirichlet(np.ones(4), size=(3, int((~learnable).sum())))
    labelled[~learnable] = rng.integers(0, 4, int((~learnable).sum()))

    first, second = (
        assemble(proba=p, mask=full(p), y=labels_, combiner=combiner(kind), seed=3, learnable=learnable)
        for p, labels_ in ((proba, y), (other, labelled))
    )

    assert bits(first) == bits(second)


@pytest.mark.parametrize("kind", QUICK)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_no_combiner_gives_nan_or_loses_to_the_best_member_on_any_mask(kind, seed):
    # given: any mask that leaves each class some rows, with NaN where nothing is known
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(8, 60))
    y = rng.permutation(np.arange(rows) % 3)
    proba = members(rng, y, classes=3, skills=rng.uniform(-1, 3, 3)).astype(np.float32)
    mask = rng.random((3, rows)) < 0.9
    for k in range(3):
        mask[:, rng.choice(np.flatnonzero(y == k), min(2, int((y == k).sum())), replace=False)] = True
    proba[~mask] = np.nan
    learnable = (rng.random(rows) < 0.8) | mask.all(axis=0) & (y == 0)
    dependence = [
        Dependence(),
        Dependence(groups=rng.integers(0, 5, rows)),
        Dependence(time=rng.integers(0, 9, rows).astype(float)),
    ][seed % 3]

    made = assemble(
        proba=proba, mask=mask, y=y, combiner=combiner(kind), seed=0, dependence=dependence, learnable=learnable
    )

    counted = mask.all(axis=0) & learnable
    np.testing.assert_array_equal(made.rows, counted)
    assert np.isfinite(made.crossfit_proba[counted]).all() and np.isfinite(made.combination.weights).all()
    assert made.crossfit_proba[counted].sum(axis=1) == pytest.approx(np.ones(counted.sum()))
    assert np.isfinite(made.combination.apply(np.nan_to_num(proba, nan=1 / 3))).all()
    objective = combiner(kind).objective
    alone = min(objectives.loss(objective, member[counted], y[counted]) for member in proba)
    noise = made.gain.standard_error if combiner(kind).chooses_weights else 0.0
    allowed = 1.96 * noise if np.isfinite(noise) else 0.0
    assert objectives.loss(objective, made.crossfit_proba[counted], y[counted]) <= alone + allowed + 1e-6


@pytest.mark.parametrize("kind", QUICK)
def test_copies_of_the_rows_of_each_group_change_nothing(kind):
    rng = np.random.default_rng(5)
    y = labels(rng, rows=90, classes=3)
    proba, groups = members(rng, y, classes=3, skills=(0.5, 1.0, 2.0)), np.arange(90) // 3
    # copies have the strength of their number against a penalty: it is set so that there is none
    values = {"ridge": [0.0]} if kind == "stacking" else {}

    once, twice = (
        assemble(
            proba=np.repeat(proba, count, axis=1),
            mask=np.ones((3, 90 * count), bool),
            y=np.repeat(y, count),
            combiner=combiner(kind) if not values else COMBINERS.get(kind)(COMBINERS.get(kind).Params(**values)),
            seed=0,
            dependence=Dependence(np.repeat(groups, count)),
        )
        for count in (1, 2)
    )

    assert twice.combination.weights == pytest.approx(once.combination.weights, abs=1e-3)
    assert twice.scores["nll"] == pytest.approx(once.scores["nll"], abs=1e-4)
    assert twice.gain.standard_error == pytest.approx(once.gain.standard_error, abs=1e-4)


@pytest.mark.parametrize("kind", QUICK)
def test_permuting_members_permutes_the_ensemble_of_rows_in_groups(kind):
    rng = np.random.default_rng(6)
    y = labels(rng, rows=120, classes=3)
    proba, order = members(rng, y, classes=3, skills=(0.5, 1.0, 2.0)), np.array([2, 0, 1])
    together = Dependence(np.arange(120) // 4)

    straight, permuted = (
        assemble(proba=p, mask=full(p), y=y, combiner=combiner(kind), seed=0, dependence=together)
        for p in (proba, proba[order])
    )

    assert permuted.combination.weights == pytest.approx(straight.combination.weights[order], abs=1e-5)
    assert permuted.crossfit_proba == pytest.approx(straight.crossfit_proba, abs=1e-5)


def test_a_class_of_which_no_row_counts_keeps_its_probabilities():
    # given: a fourth class without rows, to which members give one row in twenty
    rng = np.random.default_rng(2)
    y = labels(rng, rows=300, classes=3)
    three = members(rng, y, classes=3, skills=(2.0,))[0]
    proba = np.concatenate([0.95 * three, np.full((300, 1), 0.05)], axis=1)

    for kind in CALIBRATIONS.names():
        found = calibrator_of(CALIBRATIONS.get(kind).Params()).fit(proba=proba, y=y).apply(proba)[:, 3]
        assert 0.02 < np.median(found) < 0.1, kind
    stacked = combiner("stacking").fit(proba=np.stack([proba, proba]), y=y, seed=0).apply(np.stack([proba, proba]))
    assert 0.01 < np.median(stacked[:, 3]) < 0.2


def noting(monkeypatch) -> list[tuple[set[int], set[int]]]:
    """The groups or times that each cross-fit, at any level, fits on and holds out."""
    seen: list[tuple[set[int], set[int]]] = []

    def noted(y, *, splits, seed, dependence=None):
        for fit_rows, held in parts_of(y, splits=splits, seed=seed, dependence=dependence or Dependence()):
            assert dependence is not None, "an inner level does not know which rows belong together"
            values = dependence.groups if dependence.groups is not None else dependence.time
            assert values is not None and len(values) == len(y)
            seen.append((set(values[fit_rows].tolist()), set(values[held].tolist())))
            yield fit_rows, held

    for module in ("assemble", "combiners.auto", "combiners.diverse_greedy", "combiners.stacking"):
        monkeypatch.setattr(f"quorate.ensemble.{module}.parts_of", noted)
    return seen


NESTED = {
    "auto": {"candidates": ["mean", {"kind": "stacking", "ridge": [3, 300]}, "diverse_greedy"]},
    "diverse_greedy": {"rounds": 25},
    "stacking": {"ridge": [3, 300]},
}


@pytest.mark.parametrize("kind", SPLITTING)
def test_no_level_of_splitting_divides_a_group(kind, monkeypatch):
    seen = noting(monkeypatch)
    rng = np.random.default_rng(4)
    y = labels(rng, rows=90, classes=2)
    proba = members(rng, y, classes=2, skills=(0.5, 1.5))
    made = COMBINERS.get(kind)(COMBINERS.get(kind).Params.model_validate({"kind": kind, **NESTED[kind]}))

    assemble(proba=proba, mask=full(proba), y=y, combiner=made, seed=0, dependence=Dependence(np.arange(90) // 6))

    # five parts, in each of them and at the end five more; within those of `auto` those of its candidates
    assert len(seen) >= 35
    assert all(fitted.isdisjoint(held) for fitted, held in seen)


@pytest.mark.parametrize("kind", SPLITTING)
def test_every_level_splits_time_ordered_rows_into_blocks(kind, monkeypatch):
    seen = noting(monkeypatch)
    rng = np.random.default_rng(4)
    y = labels(rng, rows=90, classes=2)
    proba = members(rng, y, classes=2, skills=(0.5, 1.5))
    time = np.repeat(rng.permutation(45), 2).astype(float)
    made = COMBINERS.get(kind)(COMBINERS.get(kind).Params.model_validate({"kind": kind, **NESTED[kind]}))

    assemble(proba=proba, mask=full(proba), y=y, combiner=made, seed=0, dependence=Dependence(time=time))

    assert len(seen) >= 35
    for fitted, held in seen:
        assert all(moment < min(held) or moment > max(held) for moment in fitted)


@pytest.mark.parametrize(
    ("time", "blocks"),
    [
        (np.arange(20.0), [4, 4, 4, 4, 4]),
        (np.repeat([3.0, 1.0, 2.0], [2, 10, 8]), [10, 8, 2]),
        (np.r_[0.0, np.ones(19)], [1, 19]),
        (np.r_[0.0, 1.0, np.full(18, 2.0)], [1, 19]),
    ],
    ids=["even", "three times", "nearly all late", "nearly all last"],
)
def test_blocks_of_time_keep_equal_times_together(time, blocks):
    y = np.arange(20) % 2

    parts = list(parts_of(y, splits=5, seed=0, dependence=Dependence(time=time)))

    assert [len(held) for _, held in parts] == blocks
    for fit_rows, held in parts:
        assert set(time[fit_rows]).isdisjoint(time[held])
        np.testing.assert_array_equal(np.sort(np.concatenate([fit_rows, held])), np.arange(20))


def test_rows_with_a_single_time_are_split_as_independent_rows():
    y = np.arange(20) % 2

    timed = list(parts_of(y, splits=5, seed=0, dependence=Dependence(time=np.ones(20))))

    for (_, held), (_, expected) in zip(timed, parts_of(y, splits=5, seed=0), strict=True):
        np.testing.assert_array_equal(held, expected)


def test_auto_passes_its_objective_to_candidates_without_one():
    # given, of 10 rows: A is right on 8, always with .55, which calibrates to .8: NLL .50, error .2
    # B is right on 7 with .999 and wrong on 3 with .501: NLL about .21, error .3
    y = np.zeros(10, int)
    a = np.where(np.arange(10) < 8, 0.55, 0.45)
    b = np.where(np.arange(10) < 7, 0.999, 0.499)
    flip = np.arange(10) % 2 == 1  # half of the rows are of the second class
    y[flip], a[flip], b[flip] = 1, 1 - a[flip], 1 - b[flip]
    proba = np.stack([np.column_stack([p, 1 - p]) for p in (a, b)])
    params = COMBINERS.get("auto").Params

    chosen = {}
    for objective in ("nll", "accuracy"):
        made = COMBINERS.get("auto")(params.model_validate({"candidates": ["best_single"], "objective": objective}))
        chosen[objective] = made.fit(proba=proba, y=y, seed=0).weights.tolist()

    assert chosen == {"nll": [0, 1], "accuracy": [1, 0]}
    given_ = params.model_validate(
        {
            "objective": "accuracy",
            "candidates": ["mean", "calibrated_greedy", {"kind": "best_single", "objective": "nll"}],
        }
    )
    assert [getattr(each, "objective", None) for each in given_.candidates] == [None, "accuracy", "nll"]
    assert params.model_validate_json(given_.model_dump_json()) == given_


def test_the_standard_error_in_auto_is_clustered_by_groups():
    # given: copies of four rows, on which the simpler candidate is worse by .0875, with an
    # error of .105 over four groups and of .018 over a hundred rows
    differences = np.array([-0.05, 0.4, 0.0, 0.0])
    groups = np.repeat(np.arange(4), 25)
    pieces = [np.repeat(differences, 25), np.zeros(100)]
    losses = [float(rows.mean()) for rows in pieces]

    rows, whole = (
        simplest_within_one_error(["simple", "best"], losses, pieces, groups=each) for each in (None, groups)
    )

    assert [each.chosen for each in rows] == [False, True]
    assert [each.chosen for each in whole] == [True, False]
    assert whole[0].error == pytest.approx(paired_difference(differences, np.zeros(4)).standard_error)


def test_with_one_group_auto_takes_the_best_candidate_without_a_standard_error():
    pieces = [np.array([1.0, 2.0]), np.array([0.5, 0.5])]

    found = simplest_within_one_error(["simple", "best"], [1.5, 0.5], pieces, groups=np.zeros(2, int))

    assert [(each.chosen, each.error) for each in found] == [(False, None), (True, None)]


def test_the_gain_over_the_best_member_has_a_standard_error_clustered_by_groups():
    rng = np.random.default_rng(8)
    y = np.repeat(labels(rng, rows=30, classes=3), 5)
    proba = np.repeat(members(rng, y[::5], classes=3, skills=(1.0, 1.2, 1.4)), 5, axis=1)
    groups = np.repeat(np.arange(30), 5)

    made = assemble(
        proba=proba, mask=full(proba), y=y, combiner=combiner("mean"), seed=0, dependence=Dependence(groups)
    )

    if made.guarded:
        assert made.gain.standard_error == 0
    else:
        losses = made.row_losses.reshape(30, 5)
        assert np.ptp(losses, axis=1).max() < 1e-9 or made.gain.standard_error > 0
        naive = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("mean"), seed=0).gain.standard_error
        assert made.gain.standard_error > 1.5 * naive


def test_too_few_rows_that_count_are_an_error_that_says_what_to_do():
    proba, y, _ = with_rows_of_an_unknown_class(0)

    with pytest.raises(
        ValueError,
        match=r"^too few rows to combine the members: only 1 of the 120 rows that all members have predicted",
    ):
        assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("mean"), seed=0, learnable=np.arange(120) < 1)


def test_the_losses_of_rows_that_count_are_those_of_the_ensemble():
    proba, y, learnable = with_rows_of_an_unknown_class(3)

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("weighted"), seed=0, learnable=learnable)

    assert made.scores["nll"] == pytest.approx(row_nll(made.crossfit_proba[learnable], y[learnable]).mean())
