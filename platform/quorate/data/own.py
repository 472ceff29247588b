"""Adapt users' own data kinds: a function that returns rows and labels, or a class like the built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from quorate.data.dataset import Dataset
from quorate.data.in_memory import as_inputs, infer_inputs
from quorate.data.labels import encode_labels, plain_labels
from quorate.data.source import DataError, DataParams, OpenedData, TestSplit, hold_out, origin_of
from quorate.errors import UserError
from quorate.registry.own_code import OwnCodeError, describe_error
from quorate.spec import TestOrigin
from quorate.spec.own_params import own_values, params_of, require_class

_FORM = "(x, y), (x_train, y_train, x_test, y_test), or quorate.data.source.OpenedData"


class SplitParams(DataParams):
    """Additional parameters of a data function that does not hold out test rows itself."""

    test: TestSplit | None = None
    """`{fraction: 0.2}` of the rows; leave it out if the function returns test rows."""

    def test_origin(self) -> TestOrigin:
        return origin_of(self.test)


class OwnData:
    """A user's own data kind: `call(params)` returns the rows."""

    def __init__(self, kind: str, source: Any, params: Any, call: Callable[[Any], object]) -> None:
        self.Params: type[DataParams] = params
        self.__doc__ = source.__doc__
        self.__module__ = source.__module__
        self._kind, self._call = kind, call

    def open(self, params: DataParams) -> OpenedData:
        """Return the rows; raises `DataError` if the user's code raises an error or returns something else."""
        try:
            given = self._call(params)
        except DataError:
            raise
        except UserError as error:
            raise DataError(str(error)) from error
        except Exception as error:  # a user's code can raise any error
            raise DataError(f"{self._kind} raises {describe_error(error)}") from error
        split = params.test if isinstance(params, SplitParams) else None
        opened = self._opened(given)
        if split is None:
            return opened
        if opened.test is not None:
            raise DataError(f"{self._kind} returns its own test rows; leave test out", "test")
        return OpenedData(*hold_out(opened.train, split), opened.notes)

    def _opened(self, given: object) -> OpenedData:
        if isinstance(given, OpenedData):
            return given
        if isinstance(given, Dataset):
            return OpenedData(given, None)
        if not isinstance(given, tuple) or len(given) not in (2, 4):
            shape = f"a tuple of {len(given)}" if isinstance(given, tuple) else f"a {type(given).__name__}"
            raise DataError(f"{self._kind} returns {shape}; it must return {_FORM}")
        try:
            x, y = infer_inputs(given[0]), _labels(given[1])
            _check_rows(len(x), len(y), "rows")
            encoded, names = encode_labels(y)
            train = Dataset(x, encoded, names)
            if len(given) == 2:
                return OpenedData(train, None)
            test_x, test_y = as_inputs(given[2], train.signature), _labels(given[3])
            _check_rows(len(test_x), len(test_y), "test rows")
            return OpenedData(train, Dataset(test_x, encode_labels(test_y, names, "names")[0], names))
        except (ValueError, TypeError, IndexError) as error:
            raise DataError(f"{self._kind} returns rows that cannot be used: {error}") from error


def adopt_dataset(kind: str, found: Any) -> OwnData:
    """Make a data kind from a function and its parameters, or from a class with `Params` and `open`."""
    if isinstance(found, type):
        require_class(found, base=DataParams, names=("open",), kind=kind)
        of_class: Any = found
        return OwnData(kind, found, of_class.Params, of_class.open)
    if not callable(found):
        raise OwnCodeError(f"it is a {type(found).__name__}; it must be a function that returns {_FORM}")
    params = params_of(found, what="data kind", kind=kind, base=SplitParams)
    return OwnData(kind, found, params, lambda params: found(**own_values(params, found, {})))


def _labels(given: Any) -> np.ndarray:
    labels = np.asarray(given)
    if labels.ndim != 1 or labels.dtype.kind not in "iubUSOf":
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; one integer or text per row is required")
    if labels.dtype.kind == "O":
        missing = pd.isna(labels)
        if missing.any():
            raise ValueError(f"row {int(missing.argmax()) + 1}: the label is missing")
        labels = np.array([label.decode() if isinstance(label, bytes) else str(label) for label in labels])
    return plain_labels(labels)


def _check_rows(rows: int, labels: int, what: str) -> None:
    if rows != labels or not rows:
        raise ValueError(f"{rows} {what} and {labels} labels; one label per row is required")
