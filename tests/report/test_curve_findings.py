"""Curves of known shape get the right finding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quorate.report.curve_findings import Curves, read_curves


def history(valid: list[float] | np.ndarray, train: list[float] | np.ndarray | None = None) -> list[dict[str, float]]:
    train = valid if train is None else train
    return [{"train_loss": float(t), "valid_loss": float(v)} for t, v in zip(train, valid, strict=True)]


FALLING = 2 * np.exp(-np.arange(20) / 15)
SETTLED = 0.3 + 2 * np.exp(-np.arange(20) / 2)
OVER = SETTLED + np.maximum(0, np.arange(20) - 8) * 0.03
TRAIN = 2 * np.exp(-np.arange(20) / 3)


@pytest.mark.parametrize(
    ("name", "valid", "train"),
    [
        ("still falling", FALLING, FALLING),
        ("settled", SETTLED, TRAIN),
        ("overfitting", OVER, TRAIN),
        ("not learning", np.full(20, 2.3), np.full(20, 2.3)),
        ("not learning", np.full(20, math.nan), np.append(TRAIN[:19], math.nan)),
        ("unsteady", SETTLED + np.where(np.arange(20) % 2, 1.0, 0.0), TRAIN),
        ("short", SETTLED[:2], TRAIN[:2]),
    ],
)
def test_each_shape_of_a_curve_has_its_finding(name: str, valid: np.ndarray, train: np.ndarray) -> None:
    assert read_curves(Curves((history(valid, train),))).name == name


def test_a_rise_within_the_noise_of_the_folds_is_no_overfitting() -> None:
    """The same mean rise, once in all folds alike, and once in a single fold that outweighs two falling ones."""
    up, down = np.maximum(0, np.arange(20) - 8) * 0.03, np.maximum(0, np.arange(20) - 8) * -0.01
    alike = Curves(tuple(history(SETTLED + up, TRAIN) for _ in range(3)))
    apart = Curves(tuple(history(SETTLED + shift, TRAIN) for shift in (3.7 * up, down, down)))

    assert np.mean([h[-1]["valid_loss"] for h in apart.histories]) > SETTLED[-1] * 1.05
    assert read_curves(alike).name == "overfitting"
    assert read_curves(apart).name != "overfitting"


def test_with_restored_weights_a_shorter_history_continues_with_its_best_epoch() -> None:
    short, long = history([3.0, 1.0, 2.0]), history([4.0, 2.0, 1.0, 0.5, 0.7])

    curves = Curves((short, long), restored=True)

    assert curves.epochs == 5
    assert curves.bests == (1, 3)
    np.testing.assert_allclose(curves.mean("valid_loss"), [3.5, 1.5, 1.5, 0.75, 0.85])
    assert Curves((short, long)).epochs == 3
    np.testing.assert_allclose(Curves((short, long)).mean("valid_loss"), [3.5, 1.5, 1.5])
    assert read_curves(Curves((history(OVER, TRAIN),), restored=True)).name == "settled"


def test_missing_metrics_are_nan() -> None:
    assert np.isnan(Curves((history([1.0, 0.5]),)).mean("grad_norm")).all()


def test_a_rising_loss_with_a_steady_accuracy_is_overconfidence_and_no_problem() -> None:
    """The loss of `OVER` rises from 1.0 by a third; three folds with accuracies that rise, or fall."""

    def with_accuracy(change: float) -> Curves:
        ends = [
            [{**epoch, "valid_accuracy": 0.8 + (change + 0.002 * fold) * max(0, i - 8)} for i, epoch in enumerate(one)]
            for fold, one in enumerate([history(OVER, TRAIN)] * 3)
        ]
        return Curves(tuple(ends))

    steady, falling = read_curves(with_accuracy(0.0)), read_curves(with_accuracy(-0.02))

    assert (steady.name, steady.problem) == ("too sure", False)
    assert "temperature corrects" in steady.sentence
    assert (falling.name, falling.problem) == ("overfitting", True)
