"""Batches whose rows are mixed with each other (mixup, CutMix), and the loss on their mixed labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.random_transforms import seeded


@dataclass(frozen=True)
class MixedBatch:
    """A batch of mixed rows."""

    x: torch.Tensor
    """float32 (n, C, H, W)"""
    shares: torch.Tensor
    """Fractions of the classes in each row, float32 (n, K); each row sums to 1."""
    weighted: torch.Tensor
    """The fractions, each multiplied by the weight of its original row."""
    soft: torch.Tensor | None = None
    """The rows' soft labels, mixed in the same proportions; None if there are none."""

    @property
    def y(self) -> torch.Tensor:
        """The class with the largest fraction, int64 (n,), used for the training accuracy."""
        return self.shares.argmax(dim=1)

    def loss(self, logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Return the mean of the cross-entropies of all parts, each multiplied by its fraction and its row's weight.

        Cross-entropy is linear in the target, so this is the mean of the losses that the parts would have alone,
        including smoothing (Zhang et al., 2018).
        """
        spread = self.weighted.sum(dim=1, keepdim=True) / logits.shape[1]
        targets = (1 - label_smoothing) * self.weighted + label_smoothing * spread
        return -(targets * functional.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def mix(
    kinds: Sequence[KindParams],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    n_classes: int,
    weight: torch.Tensor | None,
    generator: torch.Generator,
    soft: torch.Tensor | None = None,
) -> MixedBatch:
    """Mix the batch `x` (n, C, H, W) of classes `y` (n,) by one of `kinds`, chosen with equal probability.

    `weight` (n,) and a teacher's predictions `soft` (n, K) belong to the rows. Each row is mixed with the one before
    it, as in torchvision; this is a random pairing, because the order of a batch is random.
    """
    shares = functional.one_hot(y, n_classes).to(x.dtype)
    # all targets are concatenated into one array, so that they are mixed in the same proportions
    weighted = [] if weight is None else [shares * weight[:, None]]
    parts = [shares, *weighted, *([] if soft is None else [soft.to(x.dtype)])]
    targets = torch.cat(parts, dim=1)
    with seeded(generator):
        chosen = kinds[int(torch.randint(len(kinds), ()))]
        augmentation = AUGMENTATIONS.get(chosen.kind)
        if float(torch.rand(())) < augmentation.probability(chosen):
            mixed, targets = augmentation.build(chosen)(x, targets)
            x = mixed if mixed.stride() == x.stride() else torch.empty_like(x).copy_(mixed)
    split = targets.split(n_classes, dim=1)
    return MixedBatch(x, split[0], split[len(weighted)], None if soft is None else split[-1])
