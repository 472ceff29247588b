"""Every optimizer and schedule, with and without warm-up and averages, goes on from a packed state to the same bits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.training.test_resume import STEPS, check_same, fit_with

from quorate.registry import OPTIMIZERS, SCHEDULES
from quorate.training.context import Signal

RESNET = {"kind": "small_resnet", "width": 8, "norm": "group"}

OPTIMIZER: dict[str, Any] = {
    "sgd": {"kind": "sgd"},
    "momentum warm-up": {"kind": "sgd", "nesterov": True, "momentum_warmup": {"epochs": 3}},
    "adagrad": {"kind": "adagrad", "lr_decay": 0.01},
    "adadelta": {"kind": "adadelta"},
    "rmsprop": {"kind": "rmsprop", "momentum": 0.5, "centered": True},
    "adam": {"kind": "adam", "amsgrad": True},
    "adamw": {"kind": "adamw"},
}
SCHEDULE: dict[str, Any] = {
    "constant": {"kind": "constant"},
    "step": {"kind": "step", "every": 2, "factor": 0.3},
    "exponential": {"kind": "exponential"},
    "inverse_time": {"kind": "inverse_time"},
    "plateau": {"kind": "plateau", "patience": 0, "threshold": 0.5},
    "cosine": {"kind": "cosine", "cycles": 2},
    "one_cycle": {"kind": "one_cycle"},
}
NETWORK: list[dict[str, Any]] = [
    {"arch": {"kind": "mlp", "hidden": [16]}, "decay": "weights", "dropout": 0.3},
    {"arch": RESNET, "init": "he_normal", "layer_decay": 0.8, "epochs": 4},
]


AVERAGES: dict[str, Any] = {"ema": 0.9, "swa": {"start": 0.5}}


def recipe(optimizer: str, schedule: str, *, warmup: int, network: int, averages: bool) -> dict[str, Any]:
    chosen = {"lr": 0.01, "optimizer": OPTIMIZER[optimizer], "schedule": {**SCHEDULE[schedule], "warmup": warmup}}
    return {"epochs": 5, **NETWORK[network], **chosen, **(AVERAGES if averages else {})}


def check_resumes(asked: dict[str, Any], stops: list[int]) -> None:
    """A training that is stopped at each of these reports in turn ends like an undisturbed one."""
    answers = dict.fromkeys(stops, Signal.CHECKPOINT)
    run = PlainRun(answers=answers)
    undisturbed = fit_with(asked, run)
    for stop in stops:
        torch.manual_seed(stop)  # another process has other random numbers
        check_same(fit_with(asked, run.resumed(stop)), undisturbed)


# each optimizer and each schedule twice: with and without a warm-up and averages, on both networks
PAIRS = [
    (optimizer, schedule, (place + turn) % 2, turn, (place // 2 + turn) % 2)
    for turn in (0, 1)
    for place, (optimizer, schedule) in enumerate(
        zip(OPTIMIZER, [*list(SCHEDULE)[3 * turn :], *list(SCHEDULE)[: 3 * turn]], strict=True)
    )
]


@pytest.mark.parametrize(("optimizer", "schedule", "warmup", "network", "averages"), PAIRS)
def test_a_training_resumes_to_the_same_bits_whatever_its_optimizer_and_schedule(
    optimizer, schedule, warmup, network, averages
):
    asked = recipe(optimizer, schedule, warmup=warmup, network=network, averages=bool(averages))

    check_resumes(asked, [STEPS - 1, 2 * STEPS, 2 * STEPS + 1])


@pytest.mark.slow
@pytest.mark.parametrize("averages", [False, True], ids=["", "averages"])
@pytest.mark.parametrize("network", [0, 1])
@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize(("optimizer", "schedule"), list(itertools.product(OPTIMIZER, SCHEDULE)))
def test_every_combination_resumes_to_the_same_bits_from_every_epoch(optimizer, schedule, warmup, network, averages):
    asked = recipe(optimizer, schedule, warmup=warmup, network=network, averages=averages)
    if warmup:
        asked["epochs"] = 6

    check_resumes(asked, [1, STEPS + 2, *(epoch * STEPS for epoch in range(1, asked["epochs"]))])


def test_every_optimizer_and_schedule_is_among_these():
    for registry, tested in ((OPTIMIZERS, OPTIMIZER), (SCHEDULES, SCHEDULE)):
        built_in = {name for name in registry.names() if registry.reference(name) is None}
        assert {chosen["kind"] for chosen in tested.values()} == built_in
