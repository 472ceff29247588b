"""Convolutions that oneDNN computes wrongly channels last are found by their shape, and not run that way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.training.narrow_networks import NETWORKS, TRAINED
from torch import nn

from quorate.data.signature import ImageSignature
from quorate.registry import MEMBERS
from quorate.training.context import Hardware
from quorate.training.convolutions import NarrowStrided, has_narrow_strided

ROOT = Path(__file__).parents[2]


def format_of(arch: object, shape: tuple[int, int, int], *, gpus: float = 0) -> str:
    net = MEMBERS.get("net")
    params = net.Params.model_validate({"kind": "net", "arch": arch, "gpus": gpus})
    hardware = Hardware(cores=2, gpus=1, fast_bfloat16=False, cpu="")
    return net.numerics(params, signature=ImageSignature(shape), rows=100, hardware=hardware).memory_format


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_channels_last_unless_one_of_its_convolutions_is_strided_1x1_of_few_channels(name):
    arch, shape, narrow = NETWORKS[name]

    assert format_of(arch, shape) == ("contiguous" if narrow else "channels_last")


def test_accelerators_are_not_affected(name="width 8"):
    arch, shape, _ = NETWORKS[name]

    assert format_of(arch, shape, gpus=1) == "channels_last"


@pytest.mark.parametrize(
    "layer,narrow",
    [
        (nn.Conv2d(15, 8, 1, stride=2), True),
        (nn.Conv2d(16, 8, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1, stride=(2, 1)), True),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, stride=2), False),
        (nn.Conv2d(4, 8, (1, 3), stride=2), False),
        (nn.Conv2d(8, 8, 1, stride=2, groups=8), False),
        (nn.Conv2d(24, 24, 1, stride=2, groups=2), False),
        (nn.Conv1d(4, 8, 1, stride=2), True),
        (nn.ConvTranspose2d(4, 24, 1, stride=2), False),
        (nn.ConvTranspose2d(24, 4, 1, stride=2), True),
    ],
    ids=str,
)
def test_layers_and_function_calls_are_checked_alike(layer, narrow):
    rows = torch.zeros(1, layer.in_channels, *[8] * (layer.weight.ndim - 2))

    with NarrowStrided() as seen:
        layer(rows)

    assert (has_narrow_strided(layer), seen.found) == (narrow, narrow)


@pytest.mark.parametrize(
    "isa,precision",
    [
        ("", "float32"),
        ("AVX2", "float32"),
        pytest.param("", "bfloat16", marks=pytest.mark.slow),
        pytest.param("AVX2", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_narrow_networks_train_without_a_crash_and_to_equal_bits(isa, precision):
    environment = dict(os.environ, OMP_NUM_THREADS="1") | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})

    done = subprocess.run(
        [sys.executable, "-m", "tests.training.narrow_networks", precision],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )

    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    digests = json.loads(done.stdout)
    assert list(digests) == TRAINED
    assert {name: len(set(found)) for name, found in digests.items()} == dict.fromkeys(TRAINED, 1)
