import numpy as np
import pytest
from scipy import stats

from quorate.tracking.champion import challenge


def test_a_clear_improvement_moves_the_champion() -> None:
    # differences .5 .4 .6 .5: mean .5, standard deviation sqrt(.02 / 3), error .0408248
    verdict = challenge(
        new_losses=np.array([0.5, 0.6, 0.4, 0.5]),
        old_losses=np.array([1.0, 1.0, 1.0, 1.0]),
        new_fingerprint="a",
        old_fingerprint="a",
    )

    assert verdict.move
    assert verdict.difference == pytest.approx(0.5)
    assert verdict.standard_error == pytest.approx(0.0408248, abs=1e-7)
    assert "lower by 0.50000 on 4 rows, more than 1.96 standard errors" in verdict.reason


def test_an_improvement_within_the_noise_leaves_the_champion() -> None:
    # differences .5 -.4 .3 -.2: mean .05, sum of squared deviations .53, error sqrt(.53 / 3) / 2
    verdict = challenge(
        new_losses=np.array([0.5, 1.4, 0.7, 1.2]),
        old_losses=np.ones(4),
        new_fingerprint="a",
        old_fingerprint="a",
    )

    assert not verdict.move
    assert verdict.difference == pytest.approx(0.05)
    assert verdict.standard_error == pytest.approx((0.53 / 3) ** 0.5 / 2)
    assert "not more than 1.96 standard errors" in verdict.reason


@pytest.mark.parametrize(("shift", "moves"), [(1.95, False), (1.97, True)])
def test_the_line_is_drawn_at_196_standard_errors(shift: float, moves: bool) -> None:
    noise = np.random.default_rng(0).normal(size=200)
    noise -= noise.mean()
    error = stats.sem(noise)

    verdict = challenge(
        new_losses=np.zeros(200),
        old_losses=noise + shift * error,
        new_fingerprint="a",
        old_fingerprint="a",
    )

    assert verdict.move is moves
    assert verdict.standard_error == pytest.approx(error)


def test_rows_that_one_ensemble_does_not_cover_do_not_count() -> None:
    missing = np.nan
    verdict = challenge(
        new_losses=np.array([0.5, 0.6, 0.4, 0.5, missing, 9.0]),
        old_losses=np.array([1.0, 1.0, 1.0, 1.0, 9.0, missing]),
        new_fingerprint="a",
        old_fingerprint="a",
    )

    assert verdict.move
    assert verdict.difference == pytest.approx(0.5)


def test_a_worse_ensemble_leaves_the_champion() -> None:
    verdict = challenge(
        new_losses=np.array([1.0, 1.1, 1.2]),
        old_losses=np.array([0.5, 0.5, 0.5]),
        new_fingerprint="a",
        old_fingerprint="a",
    )

    assert not verdict.move


def test_the_first_ensemble_becomes_champion() -> None:
    verdict = challenge(new_losses=np.array([9.0, 9.0]), old_losses=None, new_fingerprint="a", old_fingerprint=None)

    assert verdict.move
    assert verdict.reason == "there was no champion"


def test_other_data_leave_the_champion_and_say_why() -> None:
    verdict = challenge(new_losses=np.zeros(4), old_losses=np.ones(4), new_fingerprint="a", old_fingerprint="b")

    assert not verdict.move
    assert "different data" in verdict.reason


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (None, "no out-of-fold losses"),
        (np.ones(3), "losses for 3 rows, not 2"),
        (np.array([np.nan, 1.0]), "only 1 rows have a loss in both"),
    ],
)
def test_losses_that_cannot_be_compared_leave_the_champion(old: np.ndarray | None, reason: str) -> None:
    verdict = challenge(new_losses=np.zeros(2), old_losses=old, new_fingerprint="a", old_fingerprint="a")

    assert not verdict.move
    assert reason in verdict.reason
