"""Knowledge distillation: a network learns from a teacher's probabilities beside the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quorate.training.loop import LoopSettings
from quorate.training.soft_labels import SoftLabels


def taught(
    recipe: LoopSettings,
    proba: NDArray[np.floating[Any]],
    *,
    temperature: float,
    hard: float,
    device: str,
    labelled: NDArray[np.bool_] | None = None,
) -> LoopSettings:
    """The recipe with a teacher's probabilities (N, K) of its training rows; NaN in the rows that it says nothing of.

    The loss of a row is (1 - hard) T^2 KL(teacher || network), both softened by the temperature T, and `hard` times
    the cross-entropy with its label (Hinton et al., 2015, section 2: the factor T^2 keeps the share of the soft
    labels in the gradient whatever T). A row without a teacher is learned from its label alone, one that is not
    `labelled` (N,; all are by default) from the teacher alone. Weights of rows, smoothing and mixing are the recipe's
    own.
    """
    known = np.isfinite(proba).all(axis=1)
    weight = torch.ones(len(proba)) if recipe.weight is None else recipe.weight.cpu()
    by_label = torch.from_numpy(
        np.where(known, hard if labelled is None else np.where(labelled, hard, 0.0), 1.0).astype(np.float32)
    )
    soft = SoftLabels.softened(
        np.where(known[:, None], proba, 1.0),
        temperature=temperature,
        weight=weight * (1 - by_label) * temperature**2,
        device=device,
    )
    return replace(recipe, weight=(weight * by_label).to(device), soft=soft)
