"""Test-time augmentation: average the probabilities of the original images and of fixed variants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quorate.registry import Spec
from quorate.training.augment import Augment
from quorate.training.feed import Feed, PixelFeed

_SEED = 0x7A55
"""Pass i has the seed `_SEED + i`, in every prediction."""


# The default of `passes` is an assumption, not a measurement.
class Tta(Spec):
    """Average the predictions for several variants of each image."""

    augment: Augment
    """Augmentations of the image, as in `augment` of training, without `mixup` and `cutmix`."""
    passes: int = Field(4, ge=2, le=256)
    """Number of predictions that are averaged; the first is that of the original image."""

    @model_validator(mode="after")
    def _varies_single_images(self) -> Tta:
        if not self.augment:
            raise ValueError("augment is empty; name an augmentation such as `mirror: true`, or leave tta out")
        if mixing := [step.kind for step in self.augment.mixing]:
            raise ValueError(f"{' and '.join(mixing)} would mix the rows during prediction; remove it")
        return self


def averaged(answer: Callable[[Feed], NDArray[np.float32]], feed: Feed, tta: Tta | None) -> NDArray[np.float32]:
    """Average the results of `answer` for the rows of `feed`, float32 (N, K), over the passes of `tta`."""
    if tta is None:
        return answer(feed)
    assert isinstance(feed, PixelFeed), "rejected when the job was planned"
    total = answer(feed)
    for number in range(1, tta.passes):
        total = total + answer(feed.changed(variant(tta.augment, number)))
    return total / np.float32(tta.passes)


def variant(augment: Augment, number: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a change with one draw for all images, determined by the number of the pass alone."""
    return lambda pixels: augment(pixels, torch.Generator().manual_seed(_SEED + number), shared=number)
