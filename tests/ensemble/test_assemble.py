"""Estimates are cross-fitted, the guard works, and rows with missing predictions are left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.ensemble.samples import labels, member, members

from quorate.ensemble.assemble import assemble
from quorate.ensemble.crossfit import parts_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.metrics import nll
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import CALIBRATIONS, COMBINERS

KINDS = COMBINERS.names()
OFTEN = [pytest.param(kind, marks=pytest.mark.slow) if kind == "auto" else kind for kind in KINDS]
"""`auto` fits all others some twenty times over."""
WEIGHING = ("calibrated_greedy", "diverse_greedy", "weighted")
CALIBRATED = [{"kind": "weighted", "calibration": kind, "final": kind} for kind in CALIBRATIONS.names()]


def combiner(kind: str | dict[str, str]):
    values = {"kind": kind} if isinstance(kind, str) else kind
    made = COMBINERS.get(values["kind"])
    return made(made.Params.model_validate(values))


def full(proba):
    return np.ones(proba.shape[:2], dtype=bool)


def sample(seed: int, *, rows: int = 300, classes: int = 3, skills=(0.8, 1.0, 1.2)):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return members(rng, y, classes=classes, skills=skills), y


@pytest.mark.parametrize("kind", OFTEN)
def test_scores_describe_the_crossfitted_probabilities_of_the_covered_rows(kind):
    proba, y = sample(0)

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=0)

    assert made.crossfit_proba.shape == (300, 3)
    assert made.crossfit_proba.sum(axis=1) == pytest.approx(np.ones(300))
    assert made.scores["nll"] == pytest.approx(log_loss(y, made.crossfit_proba))
    assert made.scores["accuracy"] == (made.crossfit_proba.argmax(axis=1) == y).mean()
    assert made.row_losses.mean() == pytest.approx(made.scores["nll"])


@pytest.mark.parametrize("kind", OFTEN)
@pytest.mark.parametrize("seed", range(3))
def test_the_ensemble_is_not_worse_than_its_best_single_member_by_more_than_the_noise(kind, seed):
    proba, y = sample(seed, rows=80, skills=(0.2, 0.5, 2.5))

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=seed)

    assert made.best_single_nll <= min(log_loss(y, p) for p in proba) + 1e-6
    assert made.guarded == (made.reason is not None)
    if made.guarded:
        assert made.scores["nll"] == made.best_single_nll < made.combiner_nll
    else:
        assert -made.gain.mean <= (1.96 * made.gain.standard_error if kind in WEIGHING else 0)
        assert made.scores["nll"] == made.combiner_nll


@pytest.mark.parametrize("kind,guarded", [("calibrated_greedy", False), ("geometric", True)])
def test_only_a_combiner_that_chooses_weights_is_kept_if_a_member_is_better_within_the_noise(kind, guarded):
    proba, y = sample(4, rows=80, skills=(0.2, 0.5, 2.5))

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=4)

    assert made.best_single_nll < made.combiner_nll, "the best member is better on these rows"
    assert made.guarded == guarded
    assert guarded or 0 < -made.gain.mean < 1.96 * made.gain.standard_error


@pytest.mark.parametrize("kind", [*OFTEN, *CALIBRATED], ids=str)
def test_shuffled_labels_give_chance_level_estimates(kind):
    # given: members that knew the labels, before those were shuffled
    rng = np.random.default_rng(1)
    y = labels(rng, rows=1_000, classes=2)
    proba = members(rng, y, classes=2, skills=(1.0, 1.5, 2.0, 2.5))
    shuffled = rng.permutation(y)

    # when
    made = assemble(proba=proba, mask=full(proba), y=shuffled, combiner=combiner(kind), seed=0)

    # then: within three standard errors of chance, and no better than knowing nothing
    assert abs(made.scores["accuracy"] - 0.5) < 3 * 0.5 / np.sqrt(1_000)
    assert made.scores["nll"] > np.log(2) - 0.005
    assert made.combiner_nll > np.log(2) - 0.005


@pytest.mark.parametrize("kind", ["calibrated_greedy", "stacking", *CALIBRATED[:1]], ids=str)
def test_rows_of_a_group_are_in_the_same_part(kind):
    # given: thirty groups of thirty like rows each, whose labels are drawn without a look at the members
    chance, found = np.log(2), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 30)
        y = np.repeat(rng.permutation(np.arange(30) % 2), 30)
        proba = np.repeat(rng.dirichlet([3.0, 3.0], size=(6, 30)), 30, axis=1)

        # when
        made = assemble(
            proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=seed, dependence=Dependence(groups)
        )

        found.append(made.combiner_nll)

    # then: knowing other rows of its group would have been worth .03 nats and more
    assert np.mean(found) > chance - 0.01


@pytest.mark.parametrize("case", ["a group of most rows", "classes of one row", "one group"])
def test_groups_of_any_sizes_can_be_split(case):
    rng = np.random.default_rng(0)
    y = np.arange(40) if case == "classes of one row" else labels(rng, rows=40, classes=2)
    groups = {
        "a group of most rows": np.maximum(np.arange(40) - 36, 0),
        "classes of one row": np.arange(40) // 4,
        "one group": np.zeros(40, int),
    }[case]

    parts = list(parts_of(y, splits=5, seed=0, dependence=Dependence(groups)))

    assert len(parts) >= 2 and all(len(fit_rows) and len(held) for fit_rows, held in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in parts])), np.arange(40))
    if case != "one group":
        assert all(set(groups[fit_rows]).isdisjoint(groups[held]) for fit_rows, held in parts)


@pytest.mark.parametrize(
    "kind", ["calibrated_greedy", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("best_single", "weighted"))]
)
def test_selection_among_many_random_members_does_not_bias_the_estimate_of_the_combiner(kind):
    # given: forty members that know nothing, so that a fit on all rows finds luck among them
    lucky, estimated = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = labels(rng, rows=100, classes=2)
        proba = members(rng, rng.permutation(y), classes=2, skills=[0.0] * 40)

        # when
        made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=seed)

        lucky.append(log_loss(y, combiner(kind).fit(proba=proba, y=y, seed=0).apply(proba)))
        estimated.append(made.combiner_nll)

    # then: over twenty draws the estimate is no better than knowing nothing
    assert np.mean(lucky) < np.log(2) - 0.02
    assert np.mean(estimated) > np.log(2) - 0.005


def test_each_row_is_estimated_by_a_fit_that_has_not_seen_it():
    # given: a combiner that notes which rows each fit is given
    proba, y = sample(2)
    fits = []

    class Noting(COMBINERS.get("weighted")):
        def fit_dependent(self, *, proba, y, seed, dependence):
            fits.append(proba[0, :, 0])
            return super().fit_dependent(proba=proba, y=y, seed=seed, dependence=dependence)

    # when
    made = assemble(proba=proba, mask=full(proba), y=y, combiner=Noting(combiner("weighted").params), seed=0)

    # then: five fits whose unseen parts divide the rows, each estimated by its own fit; then one on all
    assert not made.guarded
    seen = np.array([np.isin(proba[0, :, 0], rows) for rows in fits])
    assert seen[-1].all()
    assert (~seen[:-1]).sum(axis=0).tolist() == [1] * 300
    assert len(seen) == 6
    for rows in seen[:-1]:
        again = combiner("weighted").fit(proba=proba[:, rows], y=y[rows], seed=0)
        assert made.crossfit_proba[~rows] == pytest.approx(again.apply(proba[:, ~rows]))


def test_the_guard_prefers_a_perfect_member_to_the_mean_of_noise():
    # given
    rng = np.random.default_rng(3)
    y = labels(rng, rows=120, classes=3)
    noise = [member(rng, y, classes=3, skill=0, sharpness=3) for _ in range(4)]
    perfect = 0.97 * np.eye(3)[y] + 0.01
    proba = np.stack([*noise[:2], perfect, *noise[2:]])

    # when
    names = ["a", "b", "oracle", "d", "e"]
    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("mean"), seed=0, names=names)

    # then
    assert made.guarded
    assert made.best_single == 2
    assert made.combination.weights.tolist() == [0, 0, 1, 0, 0]
    assert made.scores["accuracy"] == 1
    assert made.scores["nll"] == made.best_single_nll
    assert made.reason is not None
    assert made.reason.startswith("the cross-fitted NLL of mean, ")
    assert made.reason.endswith("so the ensemble is this member")


def test_guard_leaves_the_best_member_uncalibrated_where_a_temperature_only_fits_noise():
    # given: labels drawn from the member's own probabilities, so T = 1 is right, on few rows
    rng = np.random.default_rng(8)
    proba = rng.dirichlet(np.ones(3), size=40)
    y = (rng.random((40, 1)) > proba.cumsum(axis=1)).sum(axis=1)
    noise = np.stack([rng.dirichlet(np.ones(3) / 5, size=40) for _ in range(3)])

    made = assemble(
        proba=np.stack([proba, *noise]), mask=np.ones((4, 40), bool), y=y, combiner=combiner("mean"), seed=0
    )

    assert made.guarded
    assert made.combination.temperatures == [1, 1, 1, 1]
    assert made.crossfit_proba == pytest.approx(proba, abs=1e-9)
    assert made.reason is not None and "uncalibrated" in made.reason


def test_the_guard_keeps_a_combination_that_is_better():
    proba, y = sample(4, skills=(1.0, 1.0, 1.0))

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("calibrated_greedy"), seed=0)

    whole = combiner("calibrated_greedy").fit(proba=proba, y=y, seed=0)
    assert not made.guarded
    assert made.reason is None
    assert made.scores["nll"] < made.best_single_nll
    assert made.combination.to_json() == whole.to_json()


@pytest.mark.parametrize("kind", OFTEN)
def test_rows_that_a_member_does_not_cover_are_left_out(kind):
    # given: member 1 lost its last fold; what stands there must not matter
    proba, y = sample(5)
    mask = full(proba)
    mask[1, 240:] = False
    spoiled = proba.copy()
    spoiled[1, 240:] = np.nan

    # when
    made = assemble(proba=spoiled, mask=mask, y=y, combiner=combiner(kind), seed=0)

    # then: as if those rows did not exist
    short = assemble(proba=proba[:, :240], mask=mask[:, :240], y=y[:240], combiner=combiner(kind), seed=0)
    assert made.rows.tolist() == [True] * 240 + [False] * 60
    assert np.isnan(made.crossfit_proba[240:]).all()
    assert np.isnan(made.row_losses[240:]).all()
    assert made.crossfit_proba[:240].tobytes() == short.crossfit_proba.tobytes()
    assert made.scores == short.scores
    assert made.combination.to_json() == short.combination.to_json()


@pytest.mark.parametrize("kind", OFTEN)
def test_one_overconfident_member_is_calibrated(kind):
    rng = np.random.default_rng(6)
    y = labels(rng, rows=300, classes=3)
    proba = member(rng, y, classes=3, skill=1.0, sharpness=5)[None]

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner(kind), seed=0)

    assert made.combination.weights.tolist() == [1.0]
    assert made.best_single == 0
    assert made.scores["nll"] < log_loss(y, proba[0]) - 0.1
    tempered = apply_temperature(proba=proba[0], temperature=fit_temperature(proba=proba[0], y=y))
    if kind in ("stacking", "auto"):  # the first has a slope for each class, and the second may choose it
        assert nll(made.combination.apply(proba), y) <= nll(tempered, y)
    else:
        assert made.combination.apply(proba) == pytest.approx(tempered)


def test_a_rare_class_reduces_the_number_of_parts_and_a_single_row_ends_stratification():
    for count in (3, 1):
        proba, y = sample(7, rows=60, classes=2)
        y = np.where(np.arange(60) < count, 2, y)
        proba = np.concatenate([proba, np.full((3, 60, 1), 0.1)], axis=2)

        made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("weighted"), seed=0)

        assert np.isfinite(made.crossfit_proba).all()


def test_having_no_common_row_is_an_error_that_counts_the_rows_of_each_member():
    proba, y = sample(0, skills=(1.0, 1.0))
    mask = np.array([np.arange(300) < 100, np.arange(300) >= 100])

    with pytest.raises(ValueError, match=r"only 0 of the 300 rows, .* rows by member: svm 100, cnn 200"):
        assemble(proba=proba, mask=mask, y=y, combiner=combiner("mean"), seed=0, names=["svm", "cnn"])


def test_a_class_without_common_rows_is_an_error_that_names_it():
    proba, y = sample(0)
    mask = full(proba)
    mask[0, y == 2] = False

    with pytest.raises(ValueError, match="include no row of class 2"):
        assemble(proba=proba, mask=mask, y=y, combiner=combiner("mean"), seed=0)


@pytest.mark.parametrize("seed", [0, 2**63])
def test_same_seed_gives_the_same_bits(seed):
    proba, y = sample(9, rows=100)

    first, second = (
        assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("calibrated_greedy"), seed=seed)
        for _ in range(2)
    )

    assert first.crossfit_proba.tobytes() == second.crossfit_proba.tobytes()
    assert first.combination.to_json() == second.combination.to_json()


@pytest.mark.slow
def test_many_members_keep_their_shapes():
    proba, y = sample(10, rows=2_000, classes=10, skills=np.linspace(0.5, 3, 40))
    proba = proba.astype(np.float32)

    made = assemble(proba=proba, mask=full(proba), y=y, combiner=combiner("calibrated_greedy"), seed=0)

    assert made.combination.weights.shape == (40,)
    assert made.crossfit_proba.shape == (2_000, 10)
    assert made.row_losses.shape == (2_000,)
