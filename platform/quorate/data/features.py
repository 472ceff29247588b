"""Rows as a matrix of numbers, by what was fitted on the training rows of one fold: pixels or columns."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Inputs
from quorate.data.plain_text import plain_text
from quorate.data.signature import ImageSignature, Signature, TableSignature, signature_from_json
from quorate.data.standardize import Scheme, Standardizer, fit_standardizer
from quorate.data.table import Table

Encoding = Literal["onehot", "ordinal", "index"]
"""How categories become numbers.

`onehot`: a column for each category, of which rare ones share one. `ordinal`: the position of the
category, below 254 because rare ones share one, NaN where it is missing or unknown, numbers with
their gaps: for trees. `index`: 0 for missing and 1 for unknown categories, the known ones from 2 on:
for embeddings.
"""

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]

VERSION = 2
"""Part of the keys of fit tasks on tables: raise it where the same columns give other features."""

_ENCODER = "encoder.skops"
_FARTHEST = 1e15
"""Features are clipped to it, either way: float32 holds its square, and the sum of many squares. Numbers of the
training rows come near it only under `robust` and `none`."""
_MOST_CATEGORIES = 64
"""One-hot columns of one column; the rarer categories share the last."""
_MOST_CODES = 254
"""Codes of one column for trees: scikit-learn's gradient boosting takes 255."""
_QUANTILES = 1000
_VARIANCE = 0.9999
"""Part of the variance that the principal components of a table carry; the rest, such as columns that follow from
others, would be blown up by whitening."""
_MISSING_AND_UNKNOWN = 2
"""Codes before those of the known categories."""
_TRUSTED = ("numpy.dtype",)
"""What an encoder holds beyond skops' own types."""


class Features(Protocol):
    """A fitted map from rows to a float32 matrix (n, width)."""

    @property
    def signature(self) -> Signature:
        """What one row is."""

    @property
    def width(self) -> int: ...

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Numbers of distinct codes of the last columns, where these are categories; () for pixels and `onehot`."""

    def __call__(self, x: Inputs) -> Matrix: ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what is large to `folder`; gives the rest as JSON."""


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


@dataclass(frozen=True, eq=False)
class Origin:
    """Where numeric columns lie in the training rows of a fold, and how wide: (x - shift) / scale, in float64.

    Members compute in float32, and some of them with absolute thresholds: seconds since 1970 would lose their last
    digits, and nanometres in metres would be constant. A column that has no two values in these rows gives 0 where
    there is a value; one that has none at all gives 0 for every row.
    """

    shift: Vector
    """float64 (columns,): the median of the distinct values."""
    scale: Vector
    """float64 (columns,): the power of two nearest to the median distance from there, inf for equal values. Powers of
    two change no digit."""
    empty: NDArray[np.bool_]
    """(columns,): without any value."""

    @classmethod
    def of(cls, numbers: NDArray[np.float64], *, shifted: NDArray[np.bool_]) -> Origin:
        """Of the training rows (n, columns), NaN where a value is missing; columns that are not `shifted` stay as they
        are where they have two values or more."""
        width = numbers.shape[1]
        shift, scale, empty = np.zeros(width), np.ones(width), np.zeros(width, bool)
        for i in range(width):
            # Of the distinct values: a number that half of the rows share, such as 0 for "never", is one of many.
            distinct = np.unique(numbers[~np.isnan(numbers[:, i]), i])
            empty[i] = not len(distinct)
            if len(distinct) < 2:
                scale[i] = np.inf
            elif shifted[i]:
                shift[i] = np.median(distinct)
                distance = np.abs(distinct - shift[i])
                scale[i] = 2.0 ** np.round(np.log2(np.median(distance[distance > 0])))
        return cls(shift, scale, empty)

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, columns) without columns of missing values only."""
        with np.errstate(over="ignore"):
            moved: NDArray[np.float64] = np.clip((numbers - self.shift) / self.scale, -_FARTHEST, _FARTHEST)
        moved[:, self.empty] = 0
        return moved

    def to_json(self) -> dict[str, Any]:
        scale = [None if np.isinf(value) else value for value in self.scale.tolist()]
        return {"shift": self.shift.tolist(), "scale": scale, "empty": self.empty.tolist()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Origin:
        scale = [np.inf if value is None else value for value in saved["scale"]]
        return cls(np.array(saved["shift"], float), np.array(scale, float), np.array(saved["empty"], bool))


class TableFeatures:
    """Encoded columns: numeric and boolean ones first, then categories."""

    def __init__(
        self,
        encoder: ColumnTransformer,
        signature: TableSignature,
        *,
        encoding: Encoding,
        width: int,
        cardinalities: tuple[int, ...],
        origin: Origin | None,
    ) -> None:
        self.encoder, self.signature, self.encoding = encoder, signature, encoding
        self.width, self.cardinalities, self.origin = width, cardinalities, origin

    def __call__(self, x: Inputs) -> Matrix:
        assert isinstance(x, Table), "inputs are checked at the door"
        with threadpool_limits(1):
            encoded = self.encoder.transform(_plain(x, self.origin))
        assert encoded.shape == (len(x), self.width), "the encoder is the one that was fitted"
        matrix: Matrix = np.ascontiguousarray(encoded.clip(-_FARTHEST, _FARTHEST), dtype=np.float32)
        if self.encoding == "index" and self.cardinalities:
            codes = matrix[:, self.width - len(self.cardinalities) :]
            codes += _MISSING_AND_UNKNOWN
            codes[x.frame[self.signature.names("categorical")].isna().to_numpy()] = 0
        return matrix

    def save(self, folder: Path) -> dict[str, Any]:
        import skops.io  # imports every estimator of scikit-learn: seconds

        skops.io.dump(self.encoder, folder / _ENCODER, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        return {
            "input": self.signature.to_json(),
            "encoding": self.encoding,
            "width": self.width,
            "cardinalities": list(self.cardinalities),
            **({} if self.origin is None else {"origin": self.origin.to_json()}),
        }


def fit_features(x: Inputs, *, standardize: Scheme, encoding: Encoding) -> Features:
    """Statistics and categories of the training rows `x`.

    Numbers are moved to their `Origin` first, but for those that a member takes raw: `none`, without trees.
    `standardize` scales them; on tables `channel` and `feature` are the same, `quantile` maps each
    column to a normal distribution by its ranks, `robust` takes median and interquartile range, `pca` makes
    principal components of unit variance of the scaled numbers, whose gaps are filled for trees too;
    `sample` and `zca` are refused by the plan.
    """
    if not isinstance(x, Table):
        return PixelFeatures(fit_standardizer(x, standardize), x.signature)
    numbers, categories = x.signature.names("numeric", "boolean"), x.signature.names("categorical")
    origin = _origin(x, raw=standardize == "none" and encoding != "ordinal")
    rows = _plain(x, origin)
    parts: list[Any] = []
    if numbers:
        keep_missing = encoding == "ordinal" and standardize != "pca"
        varies = bool((rows[numbers].nunique() > 1).any())
        parts.append(("numbers", _numbers(standardize, rows=len(x), keep_missing=keep_missing, varies=varies), numbers))
    if categories:
        parts.append(("categories", _categories(encoding), categories))
    encoder = ColumnTransformer(parts, sparse_threshold=0.0)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # columns without any value have no mean
        width = encoder.fit_transform(rows).shape[1]
    cardinalities: tuple[int, ...] = ()
    if categories and encoding != "onehot":
        known = [int(pd.notna(names).sum()) for names in encoder.named_transformers_["categories"].categories_]
        most = _MOST_CODES if encoding == "ordinal" else max(known)
        reserved = _MISSING_AND_UNKNOWN if encoding == "index" else 0
        cardinalities = tuple(reserved + min(count, most) for count in known)
    return TableFeatures(
        encoder, x.signature, encoding=encoding, width=width, cardinalities=cardinalities, origin=origin
    )


def load_features(folder: Path, saved: Mapping[str, Any]) -> Features:
    """What `save` wrote; the encoder may hold scikit-learn's own types only."""
    import skops.io

    signature = signature_from_json(saved["input"])
    if isinstance(signature, ImageSignature):
        return PixelFeatures(Standardizer.load(folder, saved["standardizer"]), signature)
    encoder = skops.io.load(folder / _ENCODER, trusted=list(_TRUSTED))
    _respell(encoder, signature)
    return TableFeatures(
        encoder,
        signature,
        encoding=saved["encoding"],
        width=saved["width"],
        cardinalities=tuple(saved["cardinalities"]),
        origin=Origin.from_json(saved["origin"]) if "origin" in saved else None,  # of version 1: none
    )


def _respell(encoder: ColumnTransformer, signature: TableSignature) -> None:
    """Spell the categories of a fitted encoder as tables do: earlier versions wrote 1.0 and TRUE for 1 and True.

    Raises `ValueError` where the encoder has two categories that are one value.
    """
    if not (names := signature.names("categorical")):
        return
    as_written = {column.name: column.as_written for column in signature.columns}
    for name, categories in zip(names, encoder.named_transformers_["categories"].categories_, strict=True):
        held = [place for place, category in enumerate(categories) if isinstance(category, str)]  # not the NaN
        spelled = [plain_text(categories[place], as_written=as_written[name]) for place in held]
        if twice := next((text for text, count in Counter(spelled).items() if count > 1), None):
            first, second, *_ = [repr(categories[i]) for i, text in zip(held, spelled, strict=True) if text == twice]
            raise ValueError(
                f"an earlier version of Quorate learned the column {name!r} with the categories {first} and {second}, "
                f"which this version reads as one value, {twice!r}; train the ensemble again"
            )
        categories[held] = spelled


def _numbers(standardize: Scheme, *, rows: int, keep_missing: bool, varies: bool) -> Any:
    steps: list[Any] = []
    if not keep_missing:
        steps.append(SimpleImputer(strategy="median", keep_empty_features=True, add_indicator=True))
    steps += scaling(standardize, rows=rows, varies=varies)
    return make_pipeline(*steps) if steps else FunctionTransformer()


def scaling(standardize: Scheme, *, rows: int, varies: bool = True) -> list[Any]:
    """Unfitted steps that scale a matrix of so many rows; `varies` says whether any two of them differ."""
    if standardize == "none":
        return []
    if standardize == "robust":
        return [RobustScaler()]
    steps: list[Any] = []
    if standardize == "quantile":
        steps.append(
            QuantileTransformer(
                n_quantiles=min(_QUANTILES, rows), output_distribution="normal", subsample=100_000, random_state=0
            )
        )
    # After the quantiles too: a value that many rows share, such as 0 and 1 of booleans, is sent to +-5.2 by them.
    steps.append(StandardScaler())
    if standardize == "pca" and varies:
        steps.append(PCA(_VARIANCE, whiten=True, svd_solver="covariance_eigh"))
    return steps


def _categories(encoding: Encoding) -> Any:
    if encoding == "onehot":
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=_MOST_CATEGORIES,
            sparse_output=False,
            dtype=np.float32,
        )
    if encoding == "ordinal":
        return OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
            max_categories=_MOST_CODES,
            dtype=np.float32,
        )
    return OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, dtype=np.float32
    )


def _origin(table: Table, *, raw: bool) -> Origin | None:
    """Where the numbers lie; `raw` ones stay as they are, and so do truth values."""
    names = table.signature.names("numeric", "boolean")
    if not names:
        return None
    measured = set() if raw else set(table.signature.names("numeric"))
    return Origin.of(table.frame[names].to_numpy(np.float64), shifted=np.array([name in measured for name in names]))


def _plain(table: Table, origin: Origin | None) -> pd.DataFrame:
    """Numbers about their origin, and categories as plain text, NaN where missing, which scikit-learn's encoders take
    whatever pandas' version."""
    columns: dict[str, Any] = {name: table.frame[name].astype(object) for name in table.signature.names("categorical")}
    if origin is not None:
        names = table.signature.names("numeric", "boolean")
        moved = origin(table.frame[names].to_numpy(np.float64))
        columns |= {name: moved[:, i] for i, name in enumerate(names)}
    return table.frame.assign(**columns)
