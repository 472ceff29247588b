"""Convert labels to positions in the class names, in the same way for training, test, `evaluate` and Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype

from quorate.data.plain_text import plain_text
from quorate.registry import did_you_mean

LabelCoding = Literal["names", "positions"]
"""How integer labels are read: as names of classes (3 is the class "3"), or as positions in the class names."""

_SHOWN = 20
"""Maximum number of class names in a message."""


class LabelError(ValueError):
    """A label cannot be used; `row` is the position of the first wrong one, or None."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem if row is None else f"row {row + 1}: {problem}")
        self.problem, self.row = problem, row


def plain_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels (N,) of a file as integers, truth values or text; raises `LabelError`.

    Bytes are read as text in UTF-8, and floats that are whole numbers as integers.
    """
    kind = labels.dtype.kind
    if kind == "S":
        return plain_labels(_decoded(labels))
    if kind == "f":
        if (missing := np.isnan(labels)).any():
            raise LabelError("the label is missing", _first(missing))
        if (broken := labels != np.trunc(labels)).any():
            row = _first(broken)
            raise LabelError(f"labels have the type {labels.dtype}; integers or text are required", row)
        return labels.astype(np.int64)
    if kind not in "iubU":
        raise LabelError(f"labels have the type {labels.dtype}; integers or text are required")
    if kind == "U" and (missing := labels == "").any():
        raise LabelError("the label is empty", _first(missing))
    return labels


def coding_of(labels: NDArray[Any], names: Sequence[str] | None) -> LabelCoding:
    """Return the coding of training labels: integers and truth values are positions if class names are given."""
    return "positions" if names is not None and labels.dtype.kind in "iub" else "names"


def encode_labels(
    labels: NDArray[Any], names: Sequence[str] | None = None, coding: LabelCoding = "positions"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels as int64 positions in the class names, and the class names.

    Without `names`, the sorted distinct labels are the class names. With `names`, text is a name, and `coding` says
    what integers are. Raises `LabelError` for labels that are not in `names`.
    """
    if labels.dtype.kind == "S":
        labels = _decoded(labels)
    if names is None:
        classes, y = np.unique(labels, return_inverse=True)
        return y.astype(np.int64), tuple(map(str, classes))
    if labels.dtype.kind == "b" and coding == "positions" and not {"False", "True"} & set(names):
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu" and coding == "positions":
        return _as_positions(labels, names), tuple(names)
    return _as_names(labels, names), tuple(names)


def class_positions(texts: Sequence[str], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return labels as positions in the class names, -1 for unknown ones. Different spellings of a value are the same
    class."""
    position = {plain_text(name): i for i, name in reversed(list(enumerate(class_names)))}
    position |= {name: i for i, name in enumerate(class_names)}
    return np.array([position.get(text, position.get(plain_text(text), -1)) for text in texts], np.int64)


def python_labels(y: Any) -> Any:
    """Return labels of a Python program in one type; nullable and object arrays get the plain type of their values.

    Anything that is not a sequence of single labels is returned unchanged, for scikit-learn's checks. Raises
    `LabelError` if labels are missing or have types that cannot be compared.
    """
    if isinstance(y, list | tuple):
        if any(isinstance(label, list | tuple | np.ndarray) for label in y):
            return y
        _of_one_type(pd.Series(list(y), dtype=object))
        return np.asarray(y)
    if isinstance(y, np.ndarray):
        return _of_one_type(pd.Series(y)) if y.dtype == object and y.ndim == 1 else y
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return _of_one_type(pd.Series(y))
    return y


def _of_one_type(labels: pd.Series[Any]) -> NDArray[Any]:
    if (missing := labels.isna().to_numpy()).any():
        more = f" (and {missing.sum() - 1:,} more)" if missing.sum() > 1 else ""
        raise LabelError(f"y[{_first(missing)}] is missing{more}; fill in these labels, or remove their rows")
    if isinstance(labels.dtype, pd.CategoricalDtype):
        labels = labels.astype(labels.cat.categories.dtype)
    if isinstance(labels.dtype, np.dtype) and labels.dtype != object:
        return labels.to_numpy()
    found = infer_dtype(labels, skipna=False)
    if found in ("mixed", "mixed-integer") and len(kinds := sorted({type(label).__name__ for label in labels})) > 1:
        raise LabelError(f"y contains {' and '.join(kinds)}; labels must have one type: use y.astype(str)")
    plain: dict[str, type] = {
        "boolean": np.bool_,
        "integer": np.int64,
        "floating": np.float64,
        "mixed-integer-float": np.float64,
    }
    try:
        return labels.to_numpy(plain.get(found, object))
    except OverflowError:
        raise LabelError("y contains integers of more than 64 bits; convert them to text: y.astype(str)") from None


def _as_positions(labels: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    if (wrong := (labels < 0) | (labels >= len(names))).any():
        row = _first(wrong)
        raise LabelError(
            f"the label {labels[row]} is not a position in the list of {len(names)} class names; it must be in "
            f"0..{len(names) - 1}",
            row,
        )
    return labels.astype(np.int64)


def _as_names(labels: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    codes, distinct = pd.factorize(np.array([str(label) for label in labels.tolist()], dtype=object))
    known = class_positions([str(text) for text in distinct], names)
    if (unknown := np.flatnonzero(known < 0)).size:
        name, row = str(distinct[unknown[0]]), _first(codes == unknown[0])
        listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        if labels.dtype.kind in "iu" and not any(_is_integer(known) for known in names):
            raise LabelError(
                f"the label {name} is an integer, but the classes of the training data are names ({listed}); "
                "use these names as labels",
                row,
            )
        more = f" (nor {', '.join(map(str, distinct[unknown[1:6]]))})" if len(unknown) > 1 else ""
        raise LabelError(
            f"the label {name!r} is not a class{more}{did_you_mean(name, list(names))} (the classes are {listed})", row
        )
    return known[codes].astype(np.int64)


def _decoded(labels: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise LabelError(f"the label {error.object!r} is not UTF-8 text; save the labels as UTF-8 text") from None


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _first(wrong: NDArray[np.bool_]) -> int:
    return int(wrong.argmax())
