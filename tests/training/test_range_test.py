"""The range test finds the rates that are known from a curvature, and smooths as the formula says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from torch import nn

from quorate.data.sources.digits import Digits, DigitsParams
from quorate.data.standardize import fit_standardizer
from quorate.training.context import Numerics, Signal
from quorate.training.feed import PixelFeed, labels_of
from quorate.training.loop import LoopSettings
from quorate.training.range_test import RangeTest, Sweep, keep, log_spaced, read, sweep_network


def descend(curvatures: list[float], rates: np.ndarray, *, noise: float, seed: int = 0) -> RangeTest:
    """Noisy gradient descent on the quadratic with these curvatures, one step at each rate."""
    random, at = np.random.default_rng(seed), np.ones(len(curvatures)) * 3
    sweep = Sweep(rates)
    for rate in rates:
        with np.errstate(over="ignore"):
            go_on = sweep.add(float(0.5 * (np.array(curvatures) * at**2).sum()))
        if not go_on:
            break
        at = at - rate * (np.array(curvatures) * at + noise * random.normal(size=len(at)))
    return sweep.result()


@pytest.mark.parametrize("curvature", [0.5, 10.0, 200.0])
def test_a_quadratic_rises_from_two_over_its_curvature_on(curvature: float) -> None:
    rates = log_spaced(1e-6, 100, 200)

    test = descend([curvature], rates, noise=0.3 * math.sqrt(curvature))
    found = read(test, len(rates))

    limit = 2 / curvature
    assert test.diverged
    assert found.learns
    assert found.too_high is not None and limit / 2 < found.too_high < limit * 2
    assert found.diverges is not None and found.diverges > limit
    assert found.suggested is not None and found.suggested < limit / 2, "it is stable at the suggestion"
    assert found.too_low is not None and found.too_low < found.suggested
    assert found.suggested == pytest.approx(found.least / 10)


def test_the_largest_of_several_curvatures_decides() -> None:
    rates = log_spaced(1e-6, 100, 200)

    found = read(descend([0.2, 40.0], rates, noise=2.0), len(rates))

    assert found.too_high is not None and 1 / 40 < found.too_high < 4 / 40


def test_the_average_is_exponential_and_its_bias_corrected() -> None:
    losses = [3.0, 1.0, 2.0, 5.0]
    sweep = Sweep(log_spaced(0.1, 1, 60))
    for loss in losses:
        sweep.add(loss)

    beta = keep(60)
    assert beta == pytest.approx(1 - 20 / 60)
    for n, smoothed in enumerate(sweep.result().smoothed, 1):
        weights = np.array([beta ** (n - 1 - i) for i in range(n)])
        assert smoothed == pytest.approx((weights * losses[:n]).sum() / weights.sum())


def test_a_nan_loss_ends_the_test() -> None:
    sweep = Sweep(log_spaced(0.1, 1, 20))

    assert sweep.add(1.0)
    assert not sweep.add(math.nan)
    assert sweep.result().diverged
    assert len(sweep.result().rates) == 2


def test_noisy_losses_give_no_suggestion() -> None:
    random, sweep = np.random.default_rng(1), Sweep(log_spaced(1e-6, 1, 100))
    for _ in range(100):
        sweep.add(2.3 + 0.05 * random.normal())

    found = read(sweep.result(), 100)

    assert not found.learns
    assert found.suggested is None


def test_a_backbone_that_is_unfrozen_later_is_trained_from_the_first_rate_on() -> None:
    data = Digits.open(DigitsParams()).train.take(np.arange(128))
    numerics = Numerics(batch_size=32)
    feed = PixelFeed(data.x, standardize=fit_standardizer(data.x, "feature"), numerics=numerics, size=None)
    labels, asked = labels_of(data, numerics), []
    recipe = LoopSettings(
        epochs=7,
        optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
        schedule=lambda *_: pytest.fail("the schedule is replaced"),
        prepare=asked.append,
    )

    sweep_network(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        rates=log_spaced(1e-3, 1e-2, 10),
        lr=0.1,
        train=(feed, labels),
        valid=(feed, labels),
        n_classes=10,
        recipe=recipe,
        context=PlainRun(numerics=numerics),
    )

    assert asked == [6, 6, 6]  # ten batches are three epochs of four, each as the last one of the job


def test_each_batch_is_trained_at_its_rate_and_groups_keep_their_proportion() -> None:
    """The losses of the sweep equal those of plain steps of SGD at the same rates."""
    data = Digits.open(DigitsParams()).train.take(np.arange(128))
    numerics = Numerics(batch_size=128)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    feed = PixelFeed(data.x, standardize=fit_standardizer(data.x, "feature"), numerics=numerics, size=None)
    labels, rates = labels_of(data, numerics), log_spaced(1e-2, 1, 12)
    seen: list[list[float]] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            seen.append([group["lr"] for group in self.param_groups])
            super().step()

    def optimizer(net: nn.Module) -> torch.optim.Optimizer:
        weight, bias = net.parameters()
        return Watched([{"params": [weight], "lr": 0.5}, {"params": [bias], "lr": 0.05}])

    recipe = LoopSettings(epochs=1, optimizer=optimizer, schedule=lambda *_: pytest.fail("the schedule is replaced"))
    test = sweep_network(
        network,
        rates=rates,
        lr=0.5,
        train=(feed, labels),
        valid=(feed, labels),
        n_classes=10,
        recipe=recipe,
        context=PlainRun(numerics=numerics),
    )

    np.testing.assert_allclose([rate for rate, _ in seen], rates)
    np.testing.assert_allclose([rate for _, rate in seen], rates / 10)
    weight, bias = start["1.weight"], start["1.bias"]
    x = feed.batch(torch.arange(128)).flatten(1)
    for rate, loss in zip(rates, test.losses, strict=True):
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        expected = nn.functional.cross_entropy(x @ w.T + b, labels)
        expected.backward()
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        weight, bias = weight - rate * w.grad, bias - rate / 10 * b.grad


@pytest.mark.parametrize("report", [2, 4, 5])
def test_an_interrupted_sweep_continues_to_the_same_losses(report: int) -> None:
    """Epochs have four batches, so the checkpoints are within an epoch, at its end, and after its first batch."""
    data = Digits.open(DigitsParams()).train.take(np.arange(128))
    numerics = Numerics(batch_size=32)
    feed = PixelFeed(data.x, standardize=fit_standardizer(data.x, "feature"), numerics=numerics, size=None)
    labels = labels_of(data, numerics)
    recipe = LoopSettings(
        epochs=1,
        optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
        schedule=lambda *_: pytest.fail("the schedule is replaced"),
    )

    def swept(context: PlainRun) -> RangeTest:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        rows = (feed, labels)
        given: dict[str, Any] = {"train": rows, "valid": rows, "n_classes": 10, "recipe": recipe, "context": context}
        return sweep_network(network, rates=log_spaced(1e-3, 1, 11), lr=0.1, **given)

    whole = swept(PlainRun(numerics=numerics))
    cut = PlainRun(numerics=numerics, answers={report: Signal.STOP})
    begun = swept(cut)
    rest = swept(cut.resumed(report))

    assert len(begun.losses) == report < 11 == len(whole.losses)
    np.testing.assert_array_equal(rest.losses, whole.losses)
    np.testing.assert_array_equal(rest.smoothed, whole.smoothed)
