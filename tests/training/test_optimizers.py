"""Every optimizer steps as its formula, written by hand in NumPy, says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quorate.registry import OPTIMIZERS
from quorate.training.schedule_stepper import schedule_of
from quorate.training.schedules import ConstantParams

Vector = NDArray[np.float64]
Formula = Callable[..., Iterator[Vector]]

START = np.array([2.0, -1.0, 0.5, 1e-3])
CURVATURE = np.array([1.0, 0.3, 4.0, 10.0])
LR, STEPS = 0.1, 7


def gradient(w: Vector, step: int) -> Vector:
    """The gradient of a quadratic function whose minimum moves from step to step."""
    return CURVATURE * w + np.cos(step + np.arange(4))


def found(configuration: dict[str, Any], *, weight_decay: float, steps: int = STEPS) -> list[Vector]:
    """The weights after each step of the registered kind."""
    kind = OPTIMIZERS.get(configuration["kind"])
    weight = torch.nn.Parameter(torch.from_numpy(START.copy()))
    params = kind.Params.model_validate(configuration)
    optimizer = kind.build(params, [weight], lr=LR, weight_decay=weight_decay)
    after = []
    for step in range(steps):
        weight.grad = torch.from_numpy(gradient(weight.detach().numpy(), step))
        optimizer.step()
        after.append(weight.detach().numpy().copy())
    return after


def sgd(decay: float, *, momentum: float = 0.9, nesterov: bool = False) -> Iterator[Vector]:
    w, v = START.copy(), np.zeros(4)
    for step in range(STEPS):
        g = gradient(w, step) + decay * w
        v = momentum * v + g
        w = w - LR * (g + momentum * v if nesterov else v)
        yield w


def adagrad(decay: float, *, lr_decay: float = 0.0, first: float = 0.0, eps: float = 1e-10) -> Iterator[Vector]:
    w, total = START.copy(), np.full(4, first)
    for step in range(STEPS):
        g = gradient(w, step) + decay * w
        total = total + g**2
        w = w - LR / (1 + step * lr_decay) * g / (np.sqrt(total) + eps)
        yield w


def adadelta(decay: float, *, rho: float = 0.9, eps: float = 1e-6) -> Iterator[Vector]:
    w, squares, moves = START.copy(), np.zeros(4), np.zeros(4)
    for step in range(STEPS):
        g = gradient(w, step) + decay * w
        squares = rho * squares + (1 - rho) * g**2
        move = np.sqrt(moves + eps) / np.sqrt(squares + eps) * g
        moves = rho * moves + (1 - rho) * move**2
        w = w - LR * move
        yield w


def rmsprop(
    decay: float, *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> Iterator[Vector]:
    w, squares, mean, kept = START.copy(), np.zeros(4), np.zeros(4), np.zeros(4)
    for step in range(STEPS):
        g = gradient(w, step) + decay * w
        squares = alpha * squares + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        root = np.sqrt(squares - mean**2 if centered else squares) + eps
        kept = momentum * kept + g / root
        w = w - LR * kept
        yield w


def adam(
    decay: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
    decoupled: bool = False,
) -> Iterator[Vector]:
    w, first, second, largest = START.copy(), np.zeros(4), np.zeros(4), np.zeros(4)
    for step in range(STEPS):
        g = gradient(w, step) + (0 if decoupled else decay * w)
        first = betas[0] * first + (1 - betas[0]) * g
        second = betas[1] * second + (1 - betas[1]) * g**2
        largest = np.maximum(largest, second)
        root = np.sqrt((largest if amsgrad else second) / (1 - betas[1] ** (step + 1))) + eps
        w = w * (1 - LR * decay) if decoupled else w
        w = w - LR * first / (1 - betas[0] ** (step + 1)) / root
        yield w


def adamw(decay: float, **options: Any) -> Iterator[Vector]:
    return adam(decay, decoupled=True, **options)


CASES: dict[str, tuple[dict[str, Any], Formula, dict[str, Any]]] = {
    "sgd": ({"kind": "sgd", "momentum": 0}, sgd, {"momentum": 0}),
    "momentum": ({"kind": "sgd"}, sgd, {}),
    "nesterov": ({"kind": "sgd", "momentum": 0.8, "nesterov": True}, sgd, {"momentum": 0.8, "nesterov": True}),
    "adagrad": ({"kind": "adagrad"}, adagrad, {}),
    "adagrad, set": (
        {"kind": "adagrad", "lr_decay": 0.2, "initial_accumulator_value": 0.3, "eps": 0.1},
        adagrad,
        {"lr_decay": 0.2, "first": 0.3, "eps": 0.1},
    ),
    "adadelta": ({"kind": "adadelta"}, adadelta, {}),
    "adadelta, set": ({"kind": "adadelta", "rho": 0.7, "eps": 0.01}, adadelta, {"rho": 0.7, "eps": 0.01}),
    "rmsprop": ({"kind": "rmsprop"}, rmsprop, {}),
    "rmsprop, set": (
        {"kind": "rmsprop", "alpha": 0.9, "eps": 0.1, "momentum": 0.5},
        rmsprop,
        {"alpha": 0.9, "eps": 0.1, "momentum": 0.5},
    ),
    "rmsprop, centered": (
        {"kind": "rmsprop", "centered": True, "eps": 0.01},
        rmsprop,
        {"centered": True, "eps": 0.01},
    ),
    "adam": ({"kind": "adam"}, adam, {}),
    "adam, set": ({"kind": "adam", "betas": [0.8, 0.9], "eps": 0.1}, adam, {"betas": (0.8, 0.9), "eps": 0.1}),
    "amsgrad": (
        {"kind": "adam", "amsgrad": True, "betas": [0.5, 0.5]},
        adam,
        {"amsgrad": True, "betas": (0.5, 0.5)},
    ),
    "adamw": ({"kind": "adamw"}, adamw, {}),
    "adamw, set": ({"kind": "adamw", "betas": [0.8, 0.9], "eps": 0.1}, adamw, {"betas": (0.8, 0.9), "eps": 0.1}),
}


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("case", CASES)
def test_the_steps_of_an_optimizer_are_those_of_its_formula(case, decay):
    configuration, formula, options = CASES[case]

    np.testing.assert_allclose(
        found(configuration, weight_decay=decay), list(formula(decay, **options)), rtol=1e-9, atol=1e-12
    )


def test_every_optimizer_has_a_formula_here():
    tested = {configuration["kind"] for configuration, _, _ in CASES.values()}

    assert tested == {name for name in OPTIMIZERS.names() if OPTIMIZERS.reference(name) is None}


def test_decoupled_decay_shrinks_weights_without_a_gradient_and_l2_does_not_by_as_much():
    """The weight of adam with L2 moves by about `lr`, whatever the decay: it is divided by its own size."""
    moved = {}
    for name in ("adam", "adamw"):
        kind = OPTIMIZERS.get(name)
        weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        optimizer = kind.build(kind.Params(), [weight], lr=0.1, weight_decay=0.01)
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        moved[name] = 2 - weight.item()

    assert moved == pytest.approx({"adam": 0.1, "adamw": 2 * 0.1 * 0.01})


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_momentum_warms_up_along_a_line_and_steps_follow_it(nesterov):
    # given: two epochs of two steps from .5 to .9
    kind = OPTIMIZERS.get("sgd")
    params = kind.Params.model_validate(
        {"kind": "sgd", "nesterov": nesterov, "momentum_warmup": {"start": 0.5, "epochs": 2}}
    )
    weight = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = kind.build(params, [weight], lr=LR, weight_decay=0)
    schedule = schedule_of(ConstantParams(), params, optimizer, epochs=4, steps=2)

    # when
    momenta, after = [], []
    for step in range(STEPS):
        momenta.append(optimizer.param_groups[0]["momentum"])
        weight.grad = torch.from_numpy(gradient(weight.detach().numpy(), step))
        optimizer.step()
        schedule.step()
        after.append(weight.detach().numpy().copy())

    # then
    line = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9]
    assert momenta == pytest.approx(line)
    w, v = START.copy(), np.zeros(4)
    for step, momentum in enumerate(line):
        g = gradient(w, step)
        v = momentum * v + g
        w = w - LR * (g + momentum * v if nesterov else v)
        np.testing.assert_allclose(after[step], w, rtol=1e-9)


def test_after_the_warm_up_the_momentum_is_exactly_the_requested_one():
    kind = OPTIMIZERS.get("sgd")
    params = kind.Params.model_validate({"kind": "sgd", "momentum": 0.7, "momentum_warmup": {"epochs": 1}})
    optimizer = kind.build(params, [torch.nn.Parameter(torch.zeros(1))], lr=LR, weight_decay=0)
    schedule = schedule_of(ConstantParams(), params, optimizer, epochs=2, steps=3)
    assert optimizer.param_groups[0]["momentum"] == 0.5

    for _ in range(3):
        optimizer.step()
        schedule.step()

    assert optimizer.param_groups[0]["momentum"] == 0.7
