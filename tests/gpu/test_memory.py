"""The estimated memory of a training step against the memory that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.gpu.networks import trained_there
from tests.members.configurations import NET
from tests.tiny import tiny_data

from quorate.members.net_params import NetParams, expected_shape
from quorate.registry import ARCHS
from quorate.training.memory import footprint

pytestmark = pytest.mark.gpu

ROOM = 64 << 20
"""Bytes for the workspaces of cuDNN and cuBLAS and for the rows, which the estimate does not contain."""
NETWORKS: dict[str, dict[str, Any]] = {
    "wide mlp": {"arch": {"kind": "mlp", "hidden": [4096, 4096]}},
    "cnn": {"arch": {"kind": "small_cnn", "width": 64}, "size": 64},
    "resnet": {"arch": "timm/resnet18", "size": 96},
    "transformer": {"arch": "timm/vit_tiny_patch16_224", "size": 224},
}


@pytest.mark.parametrize("batch_size", [32, 128])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_takes_at_most_its_estimate_and_at_least_a_quarter_of_it(name: str, batch_size: int) -> None:
    data = tiny_data(rows=256, shape=(64, 64, 3))
    network = {**NET, **NETWORKS[name], "epochs": 1, "optimizer": "adamw", "batch_size": batch_size}
    params = NetParams.model_validate(network)
    shape, arch = expected_shape(params, data.signature), ARCHS.get(params.arch.kind)
    found = footprint(lambda: arch.build(params.arch, shape=shape, n_classes=3, dropout=0.0), shape)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    trained_there(network, data, data.take(np.arange(32)), precision="float32")

    taken = torch.cuda.max_memory_allocated() - before
    estimate = found.of(batch_size)
    print(f"{name}, batches of {batch_size}: estimate {estimate / 2**20:.0f} MiB, peak {taken / 2**20:.0f} MiB")
    assert taken <= estimate + ROOM
    assert taken >= estimate / 4 - ROOM
