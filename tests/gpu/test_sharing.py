"""Two members that share an accelerator."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from tests.gpu.networks import member_and_numerics
from tests.members.configurations import NET
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

pytestmark = pytest.mark.gpu

CNN = {**NET, "arch": {"kind": "small_cnn", "width": 16}, "epochs": 12}


def _proba(seed: int) -> np.ndarray:
    """Train with half an accelerator and predict the validation rows."""
    train, valid = tiny_data(rows=240, shape=(16, 16, 3), seed=1), tiny_data(rows=120, shape=(16, 16, 3), seed=2)
    member, numerics = member_and_numerics(CNN, train, gpus=0.5)
    proba: np.ndarray = member.fit(train, valid, PlainRun(seed, numerics)).predict_proba(valid.x)
    return proba


def test_two_processes_train_at_the_same_time_and_predict_as_they_do_alone() -> None:
    alone = [_proba(seed) for seed in (1, 2)]

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        together = list(pool.map(_proba, (1, 2)))

    for before, after in zip(alone, together, strict=True):
        np.testing.assert_allclose(after, before, atol=0.02)  # sums on the device are not ordered


def test_half_an_accelerator_plans_batches_for_half_of_its_memory() -> None:
    data = tiny_data(rows=4096, shape=(64, 64, 3))
    network = {**NET, "arch": "timm/resnet18", "size": 224, "batch_size": "auto"}
    sizes = [member_and_numerics(network, data, gpus=share)[1].batch_size for share in (1, 0.02)]

    assert sizes[0] > sizes[1] >= 2
