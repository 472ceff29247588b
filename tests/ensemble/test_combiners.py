"""What every combiner promises, and what each kind is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize
from tests.ensemble.samples import labels, members

from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.combination import Combination
from quorate.ensemble.metrics import nll
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import COMBINERS

KINDS = COMBINERS.names()


def combiner(kind: str):
    made = COMBINERS.get(kind)
    return made(made.Params())


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(11)
    y = labels(rng, rows=240, classes=4)
    return members(rng, y, classes=4, skills=(0.5, 1.0, 1.4, 1.5, 1.6)).astype(np.float32), y


@pytest.fixture(scope="module", params=KINDS)
def fitted(request, sample):
    proba, y = sample
    return combiner(request.param).fit(proba=proba, y=y, seed=0)


def test_combination_names_its_kind_and_its_weights_sum_to_one(fitted):
    assert fitted.kind in KINDS
    assert fitted.weights.shape == (5,) and len(fitted.calibrations) == 5
    assert fitted.weights.sum() == pytest.approx(1)
    assert (fitted.weights >= 0).all()
    assert all(0.05 <= temperature <= 20 for temperature in fitted.temperatures if temperature is not None)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_rows_sum_to_one(fitted, sample, rows):
    pooled = fitted.apply(sample[0][:, :rows])

    assert pooled.shape == (rows, 4)
    assert pooled.dtype == np.float64
    assert pooled.sum(axis=1) == pytest.approx(np.ones(rows), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_members_permutes_weights_and_keeps_the_output(kind, sample):
    proba, y = sample
    order = np.array([3, 0, 4, 1, 2])

    straight = combiner(kind).fit(proba=proba, y=y, seed=0)
    permuted = combiner(kind).fit(proba=proba[order], y=y, seed=0)

    assert permuted.weights == pytest.approx(straight.weights[order], abs=1e-6)
    assert permuted.apply(proba[order]) == pytest.approx(straight.apply(proba), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bits(kind, sample):
    proba, y = sample

    first, second = (combiner(kind).fit(proba=proba.copy(), y=y.copy(), seed=5) for _ in range(2))

    assert first.to_json() == second.to_json()
    assert first.apply(proba).tobytes() == second.apply(proba).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_fit_changes_none_of_its_inputs(kind, sample):
    proba, y = (array.copy() for array in sample)
    proba.flags.writeable = y.flags.writeable = False

    made = combiner(kind).fit(proba=proba, y=y, seed=0)
    made.apply(proba)

    assert (proba == sample[0]).all()


def test_json_round_trip_keeps_every_bit(fitted, sample):
    restored = Combination.from_json(json.loads(json.dumps(fitted.to_json())))

    assert restored.to_json() == fitted.to_json()
    assert restored.apply(sample[0]).tobytes() == fitted.apply(sample[0]).tobytes()


def test_a_lost_member_is_never_read_and_the_others_still_predict(fitted, sample):
    # given
    proba = sample[0].copy()
    lost = int(fitted.weights.argmax())
    proba[lost] = np.nan
    present = np.arange(5) != lost

    # when
    pooled = fitted.apply(proba, present)

    # then: the same as the ensemble of the members that are left, with their weights scaled
    weights = fitted.weights[present]
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(4, 1 / 4)
    rest = Combination(
        kind=fitted.kind,
        weights=weights,
        calibrations=[fitted.calibrations[member] for member in np.flatnonzero(present)],
        calibration=fitted.calibration,
    )
    assert np.isfinite(pooled).all()
    assert pooled == pytest.approx(rest.apply(proba[present]), abs=1e-12)


def test_an_ensemble_without_available_members_is_an_error(fitted, sample):
    with pytest.raises(ValueError, match="no member is available"):
        fitted.apply(sample[0], np.zeros(5, dtype=bool))


@pytest.mark.parametrize("kind", KINDS)
def test_one_member_is_an_ensemble(kind, sample):
    proba, y = sample

    made = combiner(kind).fit(proba=proba[:1], y=y, seed=0)

    assert made.weights.tolist() == [1.0]
    alone = made.apply(proba[:1])
    if kind in ("vote", "rank"):  # which keep no more of it than its order
        assert (alone.argmax(axis=1) == proba[0].argmax(axis=1)).all()
    else:
        assert nll(alone, y) <= nll(proba[0], y) + 1e-6


def test_mean_is_soft_voting(sample):
    proba, y = sample

    pooled = combiner("mean").fit(proba=proba, y=y, seed=0).apply(proba)

    assert pooled == pytest.approx(proba.mean(axis=0), abs=1e-6)


def test_pooling_is_tempered_members_weighted_and_tempered_again(sample):
    # given: one row of two members, T = 2 and 1, weights 1/4 and 3/4, then T = 1/2
    proba = np.array([[[0.9, 0.1]], [[0.4, 0.6]]])
    combination = Combination("mean", np.array([0.25, 0.75]), [Temperature(2.0), Temperature(1.0)], Temperature(0.5))

    # when
    pooled = combination.apply(proba)

    # then: the square root of odds 9 is 3, so .25 * .75 + .75 * .4 = .4875; squared odds after that
    expected = 0.4875**2 / (0.4875**2 + 0.5125**2)
    assert pooled[0, 0] == pytest.approx(expected)


def test_best_single_is_the_member_of_least_calibrated_loss(sample):
    proba, y = sample
    calibrated = [nll(apply_temperature(proba=p, temperature=fit_temperature(proba=p, y=y)), y) for p in proba]

    made = combiner("best_single").fit(proba=proba, y=y, seed=0)

    assert made.weights.tolist() == np.eye(5)[np.argmin(calibrated)].tolist()
    assert nll(made.apply(proba), y) == pytest.approx(min(calibrated))


def test_weighted_has_the_least_loss_of_slsqp_on_calibrated_members(sample):
    proba, y = sample
    true = np.stack([apply_temperature(proba=p, temperature=fit_temperature(proba=p, y=y)) for p in proba])[
        :, np.arange(len(y)), y
    ]
    reference = minimize(
        lambda w: -np.log(w @ true).mean(),
        np.full(5, 0.2),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )

    made = combiner("weighted").fit(proba=proba, y=y, seed=0)

    assert made.weights == pytest.approx(reference.x, abs=1e-3)
    assert -np.log(made.weights @ true).mean() <= reference.fun + 1e-9


@pytest.mark.parametrize("kind", ["weighted", "calibrated_greedy"])
def test_calibrated_kinds_beat_the_mean_and_need_no_further_temperature(kind, sample):
    proba, y = sample

    pooled = combiner(kind).fit(proba=proba, y=y, seed=0).apply(proba)

    assert nll(pooled, y) < nll(proba.mean(axis=0), y)
    assert fit_temperature(proba=pooled, y=y) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("rounds", [24, 101])
def test_rounds_of_greedy_selection_are_bounded(rounds):
    with pytest.raises(ValidationError, match="rounds"):
        COMBINERS.get("calibrated_greedy").Params(rounds=rounds)


@pytest.mark.parametrize("kind", ["weighted", "mean", "diverse_greedy"])
def test_a_subclass_that_overrides_only_the_fit_that_a_job_does_not_call_is_refused(kind):
    base = COMBINERS.get(kind)

    with pytest.raises(TypeError, match=rf"Mine overrides fit, .*{base.__name__} has .* override fit_dependent\("):

        class Mine(base):
            def fit(self, *, proba, y, seed):
                raise AssertionError("nobody calls it")

    class Good(base):
        def fit_dependent(self, *, proba, y, seed, dependence):
            return super().fit_dependent(proba=proba, y=y, seed=seed, dependence=dependence)

    assert issubclass(Good, base)
