"""Each of several predictions per row is trained, and their mean is the result."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss
from torch.nn import functional

from quorate.training.several_predictions import each_prediction, mean_logits

LOGITS = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 5, 3)) * 4)
Y, ROWS = torch.tensor([0, 1, 2, 2, 1, 0]), torch.tensor([9, 4, 7, 1, 0, 3])


def test_the_mean_is_that_of_the_probabilities() -> None:
    expected = softmax(LOGITS.numpy(), axis=2).mean(axis=1)

    np.testing.assert_allclose(mean_logits(LOGITS).exp().numpy(), expected, atol=1e-6)


def test_the_loss_is_the_mean_of_the_losses_of_all_predictions() -> None:
    logits, y, rows = each_prediction(LOGITS, Y, ROWS)

    losses = [log_loss(Y, softmax(LOGITS[:, i].numpy(), axis=1), labels=[0, 1, 2]) for i in range(5)]
    np.testing.assert_allclose(float(functional.cross_entropy(logits, y)), np.mean(losses), rtol=1e-6)
    assert rows[5:10].tolist() == [4] * 5, "each prediction belongs to its row"


def test_a_single_prediction_per_row_is_unchanged() -> None:
    logits, y, rows = each_prediction(LOGITS[:, 0], Y, ROWS)

    assert torch.equal(logits, LOGITS[:, 0]) and y is Y and rows is ROWS
