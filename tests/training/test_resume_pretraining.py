"""A training that was stopped in any phase, at any batch, and goes on from its packed state ends with the same bits."""

from __future__ import annotations

import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from tests.training.test_resume import check_same

from quorate.data.dataset import ArrayImages
from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.training.context import Numerics, Signal

TRAIN, VALID = tiny_data(rows=70), tiny_data(rows=30, seed=1)
UNLABELLED = ArrayImages(tiny_data(rows=26, seed=2).x.pixels)

STEPS = 3
"""Number of steps per epoch: of 32 images in the pretraining, and of 32, 32 and 6 rows in the training."""

RECIPES = {
    "contrast, head first": {
        "arch": {"kind": "small_cnn", "width": 8},
        "pretrain": {"kind": "simclr", "epochs": 2, "batch_size": 32, "mirror": True, "noise": 0.1},
        "finetune": {"head_epochs": 1},
        "schedule": "one_cycle",
        "dropout": 0.3,
    },
    "restoration": {
        "arch": {"kind": "mlp", "hidden": [16]},
        "pretrain": {"kind": "autoencoder", "epochs": 2, "batch_size": 32, "noise": 0.1},
        "dropout": 0.3,
    },
    "restoration by convolutions": {
        "arch": {"kind": "small_resnet", "width": 8},
        "pretrain": {"kind": "autoencoder", "epochs": 2, "batch_size": 32},
        "finetune": {"freeze": "backbone"},
        "augment": {"crop": 1},
    },
}


def fit(recipe: str, run: PlainRun) -> Net:
    params = NetParams.model_validate({"epochs": 2, "batch_size": 32, "lr": 0.05, **RECIPES[recipe]})
    run.numerics, run.unlabelled = Numerics(memory_format="channels_last", batch_size=32), UNLABELLED
    return Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(TRAIN, VALID, run)


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(recipe) -> Net:
    return fit(recipe, PlainRun())


@pytest.mark.parametrize("report", range(1, 4 * STEPS + 1))
def test_a_run_stopped_in_either_phase_resumes_to_the_same_bits(report, recipe, undisturbed):
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


def test_a_run_can_be_stopped_at_every_report(recipe, undisturbed):
    run = PlainRun(answers={1: Signal.STOP})
    for _ in range(40):
        net = fit(recipe, run)
        if not run.kept:
            break
        run = run.resumed(1)
        run.answers = {1: Signal.STOP}

    check_same(net, undisturbed)


def test_checkpoints_change_nothing_and_contain_the_number_of_epochs(recipe, undisturbed):
    run = PlainRun(answers=dict.fromkeys((2, 3, 7, 12), Signal.CHECKPOINT))

    check_same(fit(recipe, run), undisturbed)

    for report, done in ((2, 0), (3, 1), (7, 2), (12, 4)):
        state = run.resumed(report).restored
        assert state is not None
        assert len(state["pretrained"]) + len(state["history"]) == done
        assert (state.get("phase") == "pretraining") == (report < 2 * STEPS)
        check_same(fit(recipe, run.resumed(report)), undisturbed)
