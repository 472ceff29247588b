"""Normalize text, so that a value has the same spelling in files, data frames and requests."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_numeric_dtype, is_object_dtype

_SPACES = dict.fromkeys((160, 8199, 8201, 8239), " ") | {0x200B: None, 0xFEFF: None}
"""Non-breaking spaces become spaces; zero-width spaces are removed."""
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0+)?")
"""Whole numbers as programs write them: without leading zeros, with or without a fraction of zeros."""
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.(?:0+|\d*[1-9]))?|\.\d*[1-9])(?:e[+-]?\d+)?", re.IGNORECASE)
"""Numbers as programs write them, which excludes 01, 1.10 and 1.0.3."""
_TRUTHS = ("true", "false")
CONTAINERS = (list, tuple, set, frozenset, dict, np.ndarray)
"""Types of containers, which are not allowed in the cells of a table."""
NEARLY_ALL = 0.9
"""Minimum fraction of numbers (or of dates) for a text column to count as numbers (or dates) with some wrong cells. An
assumption, not a measurement: in the Titanic data, 0.74 of the tickets are numbers, although tickets are names."""


def clean_text(text: str) -> str:
    """Strip the text, replace special spaces, and compose accented letters to one character (Unicode NFC)."""
    return unicodedata.normalize("NFC", text).translate(_SPACES).strip()


def plain_text(value: object, *, as_written: bool = False) -> str:
    """Return a category, label or group as text.

    - Whole numbers have no fraction: 1, 1.0, "1", "1.0" and " 1" are "1", because integers become floats if one is
      missing. With `as_written`, the text "1.0" stays "1.0" (see `are_names`), but the number 1.0 is still "1".
    - Truth values are "True" and "False", ignoring case.
    - Texts with other fractions do not change, because the versions 1.1 and 1.10 differ. Texts with leading zeros do
      not change, because codes such as 01 and 01.0 are not numbers.
    - Bytes are read as UTF-8.

    Raises `ValueError` for other bytes and for containers such as lists.
    """
    if isinstance(value, CONTAINERS):
        raise ValueError(f"holds {type(value).__name__}")
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ValueError("holds bytes that are not UTF-8 text") from None
    if isinstance(value, Decimal) and value.is_finite():
        value = format(value.normalize(), "f")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = clean_text(str(value))
    if text.lower() in _TRUTHS:
        return text.capitalize()
    if as_written:
        return text
    whole = _WHOLE.fullmatch(text)
    text = whole[1] if whole else text
    return "0" if text == "-0" else text


def names_differ(names: Iterable[str]) -> bool:
    """Return whether two of these distinct texts are the same whole number, such as 1 and 1.0."""
    numbers = [plain_text(name) for name in set(names) if _WHOLE.fullmatch(name)]
    return len(set(numbers)) < len(numbers)


def are_names(values: pd.Series[Any]) -> bool:
    """Return whether texts in a column that look like whole numbers are names, so that 1 and 1.0 are two values.

    They are names if both spellings occur, and another text shows that the texts are not numbers: a word (`beta`), a
    version (`1.0.3`, `1.10`) or a code (`01`). Otherwise 1 and 1.0 are spellings of one number.
    """
    if is_numeric_dtype(values.dtype):
        return False
    held = values.cat.remove_unused_categories().cat.categories if _is_category(values) else values
    texts = {clean_text(text) for text in {_decoded(value) for value in held if isinstance(value, str | bytes)}}
    return names_differ(texts) and any(not _NUMBER.fullmatch(text) and text.lower() not in _TRUTHS for text in texts)


def distinct_texts(values: pd.Series[Any], *, as_written: bool = False) -> tuple[NDArray[np.intp], list[str]]:
    """Return (code of each row or -1 if missing, text of each code); several codes can have the same text.

    `as_written` and the errors are those of `plain_text`.
    """
    if is_object_dtype(values.dtype) and infer_dtype(values, skipna=True) != "string":
        # pandas treats 1, 1.0 and True as one key, and keeps the first of them
        values = values.map(partial(plain_text, as_written=as_written), na_action="ignore")
    codes, distinct = pd.factorize(values)
    return codes, [plain_text(value, as_written=as_written) for value in distinct]


def _is_category(values: pd.Series[Any]) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)


def _decoded(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
