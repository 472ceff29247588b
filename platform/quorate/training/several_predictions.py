"""Networks that predict several times per row: each prediction is trained, and their mean is the result."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def mean_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the logarithm (n, K) of the mean of the k predictions of each row, from their logits (n, k, K)."""
    return functional.log_softmax(logits.float(), dim=2).logsumexp(dim=1) - math.log(logits.shape[1])


def each_prediction(
    logits: torch.Tensor, y: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return each prediction with the label and the row that it belongs to: logits (n k, K), y (n k,), rows (n k,).

    A mean over them is the mean of the k means over the rows. Logits (n, K) are returned as they are.
    """
    if logits.dim() == 2:
        return logits, y, rows
    k = logits.shape[1]
    return logits.flatten(0, 1), y.repeat_interleave(k), rows.repeat_interleave(k)
