"""A kernel machine for many rows: a Nyström approximation (Williams and Seeger, 2001) before a linear classifier."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline


def nystroem(
    seed: int, *, landmarks: Annotated[int, Field(ge=2)] = 300, C: Annotated[float, Field(gt=0)] = 100.0
) -> Pipeline:
    """A logistic regression on the similarity to some of the training rows; `seed` draws them."""
    kernel = Nystroem(kernel="rbf", n_components=landmarks, random_state=seed)
    return make_pipeline(kernel, LogisticRegression(C=C, max_iter=1000))
