"""The criterion of early stopping: which epoch of a training is the best one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.training.stopping import as_loss, calibrated_loss


def sample(rows: int = 400, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), y] += 1
    return logits, y


@pytest.mark.parametrize("sharpness", [0.3, 1, 6])
def test_the_calibrated_loss_is_that_of_the_best_temperature_that_scipy_finds(sharpness: float) -> None:
    logits, y = sample()

    found = calibrated_loss(torch.from_numpy(sharpness * logits).float(), torch.from_numpy(y))

    def loss(inverse: float) -> float:
        return float(-log_softmax(inverse * logits, axis=1)[np.arange(len(y)), y].mean())

    best = minimize_scalar(loss, bounds=(0.01, 20), method="bounded").fun
    assert found == pytest.approx(best, abs=1e-6), "whatever the scale of the logits"


def test_a_low_loss_and_a_high_accuracy_are_good() -> None:
    figures = {"valid_loss": 0.5, "valid_accuracy": 0.8, "valid_calibrated_loss": 0.4}

    assert as_loss(figures, "calibrated_loss") == 0.4
    assert as_loss(figures, "accuracy") == -0.8


def test_a_network_stops_at_the_epoch_with_the_lowest_calibrated_loss() -> None:
    # given: few rows and a high rate, so that confidence grows without end
    train, valid = tiny_data(rows=60), tiny_data(rows=60, seed=1)
    valid = type(valid)(valid.x, np.where(np.arange(60) % 4 == 0, (valid.y + 1) % 3, valid.y), valid.class_names)
    settings = {"arch": {"kind": "mlp", "hidden": [32]}, "epochs": 12, "lr": 0.2, "batch_size": 20}

    def trained(**stopping: object) -> Net:
        params = NetParams.model_validate({**settings, "early_stopping": {"patience": 12, **stopping}})
        return Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(train, valid, PlainRun())

    # when
    net, other = trained(metric="calibrated_loss"), trained(metric="loss")

    # then: the predictions are those of the epoch with the lowest figure
    proba = net.predict_proba(valid.x)
    figures = [epoch["valid_calibrated_loss"] for epoch in net.history]
    loss = calibrated_loss(torch.from_numpy(np.log(proba)), torch.from_numpy(valid.y))
    assert loss == pytest.approx(min(figures), abs=1e-4)
    assert np.argmin(figures) != np.argmin([epoch["valid_loss"] for epoch in net.history]), "the two criteria differ"
    assert "valid_calibrated_loss" not in other.history[0], "it costs time, and is computed only where it is used"
