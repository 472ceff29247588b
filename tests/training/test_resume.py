"""A training that was stopped at any batch and goes on from its packed state ends with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.training.context import Numerics, Signal

TRAIN, VALID = tiny_data(rows=100), tiny_data(rows=30, seed=1)
STEPS = 4  # of 32, 32, 32 and 4 rows

MLP = {"kind": "mlp", "hidden": [16]}
CNN = {"kind": "small_cnn", "width": 4}
RECIPES = {
    "constant, dropout": {"arch": MLP, "dropout": 0.4, "schedule": "constant"},
    "step, augmentation": {
        "arch": CNN,
        "schedule": {"kind": "step", "every": 2, "factor": 0.3},
        "augment": {"mirror": True, "crop": 2},
        "dropout": 0.2,
    },
    "one cycle, smoothing": {
        "arch": {"kind": "small_resnet", "width": 8},
        "schedule": "one_cycle",
        "label_smoothing": 0.1,
        "augment": {"crop": 1},
    },
    "every augmentation": {
        "arch": MLP,
        "epochs": 3,
        "augment": {
            "crop": 1,
            "mirror": "both",
            "rotation": 10,
            "affine": True,
            "elastic": {"sigma": 1},
            "color": {"saturation": 0},
            "noise": 0.1,
            "erase": {"fill": "noise"},
            "randaugment": True,
            "trivialaugment": True,
            "mixup": {"alpha": 0.4, "probability": 0.8},
            "cutmix": True,
        },
        "label_smoothing": 0.1,
    },
    "early stopping": {
        "arch": MLP,
        "lr": 3,
        "dropout": 0.5,
        "epochs": 30,
        "early_stopping": {"patience": 2},
        "optimizer": {"kind": "sgd", "nesterov": True},
    },
}


def fit(recipe: str, run: PlainRun) -> Net:
    return fit_with(RECIPES[recipe], run)


def fit_with(recipe: Mapping[str, Any], run: PlainRun) -> Net:
    params = NetParams.model_validate({"epochs": 5, "batch_size": 32, "lr": 0.05, **recipe})
    run.numerics = Numerics(memory_format="channels_last", batch_size=32)
    return Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(TRAIN, VALID, run)


def weights(net: Net) -> dict[str, torch.Tensor]:
    assert net.network is not None
    return net.network.state_dict()


def history(net: Net) -> list[dict[str, float]]:
    return [{name: value for name, value in figures.items() if name != "seconds"} for figures in net.history]


def check_same(net: Net, expected: Net) -> None:
    """The same curves, and the same weights of the network and of what else its run gives: averages, snapshots."""
    assert history(net) == history(expected)
    for view in (None, *Net.views(expected.params)):
        one, other = (member if view is None else member.view(view) for member in (net, expected))
        for name, tensor in weights(other).items():
            assert torch.equal(weights(one)[name], tensor), (view, name)


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(recipe) -> Net:
    return fit(recipe, PlainRun())


@pytest.mark.parametrize("report", [1, 3, 4, 5, 8, 10, 11, 12], ids=lambda k: f"epoch {k // STEPS} step {k % STEPS}")
def test_a_stopped_training_resumes_to_the_same_bits(report, recipe, undisturbed):
    # given
    run = PlainRun(answers={report: Signal.STOP})
    stopped = fit(recipe, run)
    assert len(run.reports) == report, "it returns at once"
    assert len(stopped.history) == report // STEPS
    torch.manual_seed(report)  # another process has other random numbers

    # when
    resumed = fit(recipe, run.resumed(report))

    # then
    check_same(resumed, undisturbed)


def test_a_checkpoint_changes_nothing_and_can_be_resumed(recipe, undisturbed):
    run = PlainRun(answers={2: Signal.CHECKPOINT, 7: Signal.CHECKPOINT, 8: Signal.CHECKPOINT})

    check_same(fit(recipe, run), undisturbed)
    for report in run.kept:
        check_same(fit(recipe, run.resumed(report)), undisturbed)


def test_a_training_can_be_stopped_at_every_report(recipe, undisturbed):
    run = PlainRun(answers={1: Signal.STOP})
    for _ in range(200):
        net = fit(recipe, run)
        if not run.kept:
            break
        run = run.resumed(1)
        run.answers = {1: Signal.STOP}

    # the last report of all is answered with a stop too; then there is nothing left to do
    check_same(net, undisturbed)


def test_the_early_stop_of_these_tests_comes_before_the_last_epoch():
    assert len(fit("early stopping", PlainRun()).history) < 30


def test_a_training_that_is_stopped_gives_the_best_epoch_so_far():
    # given: states at the end of each of three epochs
    run = PlainRun(answers={k * STEPS: Signal.CHECKPOINT for k in (1, 2)} | {3 * STEPS: Signal.STOP})

    # when
    net = fit("constant, dropout", run)

    # then
    best = int(np.argmin([figures["valid_loss"] for figures in net.history]))
    state = run.resumed((best + 1) * STEPS).restored
    assert state is not None
    for name, tensor in state["network"].items():
        assert torch.equal(weights(net)[name], tensor)


def test_seconds_continue_from_those_before_the_stop():
    run = PlainRun(answers={2: Signal.STOP})
    fit("constant, dropout", run)
    resumed = run.resumed(2)
    assert resumed.restored is not None
    resumed.restored["seconds"] = 100.0

    net = fit("constant, dropout", resumed)

    assert net.history[0]["seconds"] > 100 > net.history[1]["seconds"]
