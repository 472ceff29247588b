"""Convert pixels or columns to a matrix of numbers, with statistics of the training rows of one fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Inputs
from quorate.data.signature import ImageSignature, Signature, signature_from_json
from quorate.data.standardize import Scheme, Standardizer, fit_standardizer
from quorate.data.table import Table

Encoding = Literal["onehot", "ordinal", "index"]
"""How categories become numbers.

- `onehot`: one column per category; rare categories share one.
- `ordinal`, for trees: the position of the category, below 254 because rare categories share one; NaN for missing and
  unknown categories. Numbers keep their missing values.
- `index`, for embeddings: 0 for missing and 1 for unknown categories, 2 and above for known ones.
"""

Matrix = NDArray[np.float32]

VERSION = 2
"""Part of the keys of fit tasks on tables; increment it when the same columns give different features."""


class Features(Protocol):
    """A fitted map from rows to a float32 matrix (n, width)."""

    @property
    def signature(self) -> Signature:
        """The signature of one row."""

    @property
    def width(self) -> int: ...

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of distinct codes of each of the last columns, which are categories; () for pixels and `onehot`."""

    def __call__(self, x: Inputs) -> Matrix: ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the large parts to `folder`, and return the other parts as JSON values."""


class PixelFeatures:
    """Standardized pixels, flattened."""

    cardinalities: tuple[int, ...] = ()

    def __init__(self, standardizer: Standardizer, signature: ImageSignature) -> None:
        self.standardizer, self.signature = standardizer, signature

    @property
    def width(self) -> int:
        return self.signature.size

    def __call__(self, x: Inputs) -> Matrix:
        assert not isinstance(x, Table), "inputs are checked at the door"
        return self.standardizer(x.take(np.arange(len(x)))).reshape(len(x), self.width)

    def save(self, folder: Path) -> dict[str, Any]:
        return {"input": self.signature.to_json(), "standardizer": self.standardizer.save(folder)}


def fit_features(x: Inputs, *, standardize: Scheme, encoding: Encoding) -> Features:
    """Fit the statistics and categories of the training rows `x`.

    Numbers are first shifted and scaled by their `Origin`, then by the scheme `standardize`. With `none`, trees use the
    numbers relative to the `Origin`, and other members use the raw numbers. On tables, `channel` and `feature` are the
    same; `quantile` maps each column to a normal distribution by its ranks; `robust` uses the median and the
    interquartile range; `pca` gives the principal components of the scaled numbers, with unit variance. `pca` imputes
    missing values, even for trees. The plan rejects `sample` and `zca`.
    """
    if not isinstance(x, Table):
        return PixelFeatures(fit_standardizer(x, standardize), x.signature)
    from quorate.data.table_features import fit_table_features  # scikit-learn, which members on pixels do not need

    return fit_table_features(x, standardize=standardize, encoding=encoding)


def load_features(folder: Path, saved: Mapping[str, Any]) -> Features:
    """Load what `save` wrote; the encoder can contain only types of scikit-learn."""
    signature = signature_from_json(saved["input"])
    if isinstance(signature, ImageSignature):
        return PixelFeatures(Standardizer.load(folder, saved["standardizer"]), signature)
    if "targets" in saved:
        from quorate.data.target_features import load_target_features

        return load_target_features(folder, saved, signature)
    from quorate.data.table_features import load_table_features

    return load_table_features(folder, saved, signature)
