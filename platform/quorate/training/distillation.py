"""Knowledge distillation: train a network on a teacher's probabilities in addition to the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quorate.training.loop import LoopSettings
from quorate.training.soft_labels import SoftLabels


def with_teacher(
    recipe: LoopSettings,
    proba: NDArray[np.floating[Any]],
    *,
    temperature: float,
    hard: float,
    device: str,
    labelled: NDArray[np.bool_] | None = None,
) -> LoopSettings:
    """Add a teacher's probabilities (N, K) of the training rows to the recipe; NaN in rows without predictions.

    The loss of a row is (1 - hard) T^2 KL(teacher || network), with both softened by the temperature T, plus `hard`
    times the cross-entropy with its label (Hinton et al., 2015, section 2: the factor T^2 makes the contribution of the
    soft labels to the gradient independent of T). A row without a teacher is trained on its label alone. Rows for which
    `labelled` (N,) is false are trained on the teacher alone; by default all rows are labelled. Row weights, smoothing
    and mixing are those of the recipe.
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
