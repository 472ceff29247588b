"""Learning rates and steps agree with their formulas, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from quorate.training.optimizers import Sgd, SgdParams
from quorate.training.schedules import Constant, ConstantParams, OneCycle, OneCycleParams, Step, StepParams


def rates(kind, params, *, lr: float, epochs: int, steps: int) -> list[float]:
    """The rate of every step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = kind.build(params, optimizer, epochs=epochs, steps=steps)
    found = []
    for _ in range(epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_constant_schedule_keeps_the_rate():
    assert rates(Constant, ConstantParams(), lr=0.3, epochs=3, steps=4) == [0.3] * 12


def test_the_step_schedule_multiplies_the_rate_every_few_epochs():
    found = rates(Step, StepParams(every=2, factor=0.5), lr=0.8, epochs=5, steps=3)

    assert found == pytest.approx([0.8] * 6 + [0.4] * 6 + [0.2] * 3)


def test_one_cycle_rises_and_falls_along_cosines():
    # given
    epochs, steps, lr = 5, 8, 0.5
    total = epochs * steps

    # when
    found = rates(OneCycle, OneCycleParams(rise=0.25, start=10, end=100), lr=lr, epochs=epochs, steps=steps)

    # then: step 9 of 0..39 is the highest
    def cosine(start: float, end: float, part: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2

    peak, last = 0.25 * total - 1, total - 1
    low, least = lr / 10, lr / 10 / 100
    expected = [
        cosine(low, lr, i / peak) if i <= peak else cosine(lr, least, (i - peak) / (last - peak)) for i in range(total)
    ]
    assert found == pytest.approx(expected)
    assert (found[0], max(found), found[9], found[-1]) == pytest.approx((0.05, 0.5, 0.5, 0.0005))


@pytest.mark.parametrize(
    ("epochs", "steps", "rise"), [(1, 1, 0.3), (5, 2, 0.1), (1, 2, 0.5), (2, 1, 0.3), (1, 4, 0.25)]
)
def test_one_cycle_serves_the_shortest_training(epochs, steps, rise):
    found = rates(OneCycle, OneCycleParams(rise=rise), lr=0.5, epochs=epochs, steps=steps)

    assert len(found) == epochs * steps
    assert all(0 < rate <= 0.5 for rate in found)


@pytest.mark.parametrize("nesterov", [False, True])
def test_three_steps_of_sgd_are_those_worked_by_hand(nesterov):
    # given: the loss w ** 2 / 2, whose gradient is w
    lr, momentum, decay = 0.1, 0.9, 0.2
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    params = SgdParams(momentum=momentum, nesterov=nesterov)
    optimizer = Sgd.build(params, [weight], lr=lr, weight_decay=decay)

    # when
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        (weight**2 / 2).sum().backward()
        optimizer.step()
        found.append(weight.item())

    # then: v is the decaying sum of gradients, the weight decay among them
    w, v, expected = 2.0, 0.0, []
    for _ in range(3):
        g = w + decay * w
        v = momentum * v + g
        w -= lr * (g + momentum * v if nesterov else v)
        expected.append(w)
    assert found == pytest.approx(expected)
    if not nesterov:
        assert found[:2] == pytest.approx([2 - 0.24, 2 - 0.24 - (0.9 * 0.24 + 0.12 * 1.76)])
