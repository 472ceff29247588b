"""bfloat16 and channels-last memory on an accelerator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.gpu.networks import member_and_numerics, trained_there
from tests.members.configurations import NET
from tests.tiny import tiny_data

from quorate.training.context import Hardware

pytestmark = pytest.mark.gpu

CNN = {**NET, "arch": {"kind": "small_cnn", "width": 16}, "epochs": 12}
TRAIN, VALID = tiny_data(rows=240, shape=(16, 16, 3), seed=1), tiny_data(rows=120, shape=(16, 16, 3), seed=2)


def test_the_plan_chooses_cuda_channels_last_and_bfloat16_where_the_device_has_it(hardware: Hardware) -> None:
    _, numerics = member_and_numerics(CNN, TRAIN)

    assert (numerics.device, numerics.memory_format) == ("cuda", "channels_last")
    expected = "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    assert numerics.precision == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_network_learns_with_every_precision_and_memory_format(precision: str, memory_format: str) -> None:
    member = trained_there(CNN, TRAIN, VALID, precision=precision, memory_format=memory_format)

    weights = [weight for weight in member.network.parameters() if weight.ndim == 4 and weight.shape[1] > 1]  # type: ignore[attr-defined]
    assert {weight.device.type for weight in weights} == {"cuda"}
    assert {weight.dtype for weight in weights} == {torch.float32}, "bfloat16 is used in the passes only"
    if memory_format == "channels_last":
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert (member.predict_proba(VALID.x).argmax(axis=1) == VALID.y).mean() > 0.9


def test_the_losses_with_bfloat16_are_near_those_with_float32() -> None:
    first, second = (trained_there(CNN, TRAIN, VALID, precision=one).history[0] for one in ("float32", "bfloat16"))

    assert first["train_loss"] == pytest.approx(second["train_loss"], rel=0.05)


def test_predictions_are_computed_in_float32_whatever_the_precision_of_the_training() -> None:
    member = trained_there(CNN, TRAIN, VALID, precision="bfloat16")

    proba = member.predict_proba(VALID.x)

    # bfloat16 has eight bits of precision: its logits would round most probabilities to a few values
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
