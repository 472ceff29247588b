"""The same predictions on the CPU and on an accelerator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.features import ARCH, write_weights
from tests.gpu.networks import NETWORKS, trained_there
from tests.members.configurations import CONFIGURATIONS, trained
from tests.tiny import tiny_data, tiny_table

from quorate.members.base import load_member

pytestmark = pytest.mark.gpu

TRAIN, VALID = tiny_data(rows=120, shape=(16, 16, 3), seed=1), tiny_data(rows=60, shape=(16, 16, 3), seed=2)
MOST_DIFFERENCE = 1e-3
"""Largest difference of a probability: more than the rounding errors of float32 and TF32 on one network."""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trained_on_the_cpu_predicts_the_same_on_the_accelerator(name: str, tmp_path: Path) -> None:
    expected = trained(CONFIGURATIONS[name], TRAIN, VALID)
    expected.save(tmp_path)

    there = load_member(tmp_path, device="cuda")

    assert next(there.network.parameters()).device.type == "cuda"  # type: ignore[attr-defined]
    found = there.predict_proba(VALID.x)
    np.testing.assert_allclose(found, expected.predict_proba(VALID.x), atol=MOST_DIFFERENCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trained_on_the_accelerator_predicts_the_same_on_the_cpu(name: str, tmp_path: Path) -> None:
    expected = trained_there(CONFIGURATIONS[name], TRAIN, VALID)
    expected.save(tmp_path)

    here = load_member(tmp_path)

    np.testing.assert_allclose(here.predict_proba(VALID.x), expected.predict_proba(VALID.x), atol=MOST_DIFFERENCE)


def test_a_network_of_table_columns_predicts_the_same_on_the_accelerator(tmp_path: Path) -> None:
    train, valid = tiny_table(seed=1), tiny_table(seed=2)
    expected = trained(CONFIGURATIONS["mlp"], train, valid)
    expected.save(tmp_path)

    found = load_member(tmp_path, device="cuda").predict_proba(valid.x)

    np.testing.assert_allclose(found, expected.predict_proba(valid.x), atol=MOST_DIFFERENCE)


def test_the_features_of_a_frozen_network_are_computed_on_the_accelerator(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "weights.safetensors")
    head = {"kind": "logistic", "features": {"arch": ARCH, "weights": str(weights), "size": 32}}
    expected = trained(head, TRAIN, VALID)
    (tmp_path / "member").mkdir()
    expected.save(tmp_path / "member")
    before = torch.cuda.max_memory_allocated()

    there = load_member(tmp_path / "member", device="cuda")

    found = there.predict_proba(VALID.x)
    assert torch.cuda.max_memory_allocated() > before
    np.testing.assert_allclose(found, expected.predict_proba(VALID.x), atol=MOST_DIFFERENCE)
