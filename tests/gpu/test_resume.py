"""A training on an accelerator goes on from a checkpoint with the random numbers of the device."""

from __future__ import annotations

import pytest
import torch
from tests.gpu.networks import trained_there
from tests.members.configurations import NET
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.training.context import Signal

pytestmark = pytest.mark.gpu

DROPOUT = {**NET, "arch": {"kind": "mlp", "hidden": [256]}, "dropout": 0.5, "epochs": 6}
TRAIN, VALID = tiny_data(rows=240, seed=1), tiny_data(rows=120, seed=2)


def test_a_network_with_dropout_resumes_with_the_losses_of_an_undisturbed_training() -> None:
    # given: the losses of an undisturbed training
    expected = trained_there(DROPOUT, TRAIN, VALID, precision="float32").history
    epochs = [number for number, metrics in enumerate(_reports(), start=1) if metrics is not None]

    # when: the training stops after its third epoch, and others use the random numbers of the device
    stopped = PlainRun(answers={epochs[2]: Signal.STOP})
    trained_there(DROPOUT, TRAIN, VALID, run=stopped, precision="float32")
    torch.rand(1000, device="cuda")
    resumed = stopped.resumed(epochs[2])
    found = trained_there(DROPOUT, TRAIN, VALID, run=resumed, precision="float32").history

    # then: other masks of dropout would change the losses by percents
    assert [epoch["train_loss"] for epoch in found] == pytest.approx(
        [epoch["train_loss"] for epoch in expected], rel=1e-4
    )


def _reports() -> list[object]:
    run = PlainRun()
    trained_there(DROPOUT, TRAIN, VALID, run=run, precision="float32")
    return list(run.reports)
