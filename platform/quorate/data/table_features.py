"""Encode the columns of a table as a matrix of numbers, with scikit-learn."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from quorate.data.features import Encoding, Matrix
from quorate.data.plain_text import plain_text
from quorate.data.signature import TableSignature
from quorate.data.standardize import Scheme
from quorate.data.table import Table

Vector = NDArray[np.float64]

_ENCODER = "encoder.skops"
_FARTHEST = 1e15
"""Maximum absolute value of a feature; larger ones are clipped. float32 represents up to 3.4e38, so the sum of the
squares of 10^8 such features is finite. Features of training rows come near this bound only with the schemes `robust`
and `none`."""
_MOST_CATEGORIES = 64
"""Maximum number of one-hot columns per categorical column; the rarest categories share the last one. An assumption,
not a measurement."""
_MOST_CODES = 254
"""Maximum number of codes per categorical column for trees; scikit-learn's gradient boosting accepts 255."""
_QUANTILES = 1000
"""Maximum number of quantiles of the scheme `quantile`: scikit-learn's default."""
_VARIANCE = 0.9999
"""Fraction of the variance that the principal components of a table keep. Whitening would amplify the remaining
directions, which arise for example if columns are functions of other columns. An assumption, not a measurement."""
_MISSING_AND_UNKNOWN = 2
"""Number of codes before those of the known categories: one for missing values, one for unknown categories."""
_TRUSTED = ("numpy.dtype",)
"""Types that an encoder may contain besides those that skops trusts."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Location and scale of numeric columns in the training rows of a fold: (x - shift) / scale, in float64.

    Members compute in float32, and some of them use absolute thresholds. Without an origin, seconds since 1970 would
    lose their last digits, and lengths of some nanometres, given in metres, would look constant. A column with a single
    distinct value in these rows gives 0 for each value. A column without any value gives 0 for every row.
    """

    shift: Vector
    """float64 (columns,): the median of the distinct values."""
    scale: Vector
    """float64 (columns,): the power of two closest to the median distance from `shift`, inf if all values are equal.
    Powers of two change no digit."""
    empty: NDArray[np.bool_]
    """bool (columns,): columns without any value."""

    @classmethod
    def of(cls, numbers: NDArray[np.float64], *, shifted: NDArray[np.bool_]) -> Origin:
        """Fit to training rows (n, columns) with NaN for missing values.

        Columns that are not `shifted` stay as they are if they have at least two distinct values.
        """
        width = numbers.shape[1]
        shift, scale, empty = np.zeros(width), np.ones(width), np.zeros(width, bool)
        for i in range(width):
            # Distinct values: a number that half of the rows share, such as 0 for "never", counts once.
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
        """Return the shifted and scaled numbers (n, columns); columns that were empty in the training rows become 0."""
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
        import skops.io  # imports every scikit-learn estimator, which takes seconds

        skops.io.dump(self.encoder, folder / _ENCODER, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        return {
            "input": self.signature.to_json(),
            "encoding": self.encoding,
            "width": self.width,
            "cardinalities": list(self.cardinalities),
            **({} if self.origin is None else {"origin": self.origin.to_json()}),
        }


def fit_table_features(x: Table, *, standardize: Scheme, encoding: Encoding) -> TableFeatures:
    """Fit the encoder to the training rows `x`, as `fit_features` describes it."""
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
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # from the mean of a column without values
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


def load_table_features(folder: Path, saved: Mapping[str, Any], signature: TableSignature) -> TableFeatures:
    """Load what `save` wrote; the encoder can contain only types of scikit-learn."""
    import skops.io

    encoder = skops.io.load(folder / _ENCODER, trusted=list(_TRUSTED))
    _respell(encoder, signature)
    return TableFeatures(
        encoder,
        signature,
        encoding=saved["encoding"],
        width=saved["width"],
        cardinalities=tuple(saved["cardinalities"]),
        origin=Origin.from_json(saved["origin"]) if "origin" in saved else None,  # files of version 1 have no origin
    )


def _respell(encoder: ColumnTransformer, signature: TableSignature) -> None:
    """Change the categories of a fitted encoder to the spelling of tables: earlier versions wrote 1.0 and TRUE for 1
    and True.

    Raises `ValueError` if two categories of the encoder are the same value.
    """
    if not (names := signature.names("categorical")):
        return
    as_written = {column.name: column.as_written for column in signature.columns}
    for name, categories in zip(names, encoder.named_transformers_["categories"].categories_, strict=True):
        held = [place for place, category in enumerate(categories) if isinstance(category, str)]  # without NaN
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
    """Return unfitted steps that scale a matrix with `rows` rows; `varies` is false if all of these rows are equal."""
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
    # Also after the quantiles, which map a value that many rows share, such as 0 and 1 of booleans, to +-5.2.
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
    """Return the origin of the numbers. Numbers stay as they are if `raw` is true; truth values always do."""
    names = table.signature.names("numeric", "boolean")
    if not names:
        return None
    measured = set() if raw else set(table.signature.names("numeric"))
    return Origin.of(table.frame[names].to_numpy(np.float64), shifted=np.array([name in measured for name in names]))


def _plain(table: Table, origin: Origin | None) -> pd.DataFrame:
    """Return numbers relative to their origin, and categories as Python text with NaN for missing values.

    scikit-learn's encoders accept such text with every version of pandas.
    """
    columns: dict[str, Any] = {name: table.frame[name].astype(object) for name in table.signature.names("categorical")}
    if origin is not None:
        names = table.signature.names("numeric", "boolean")
        moved = origin(table.frame[names].to_numpy(np.float64))
        columns |= {name: moved[:, i] for i, name in enumerate(names)}
    return table.frame.assign(**columns)
