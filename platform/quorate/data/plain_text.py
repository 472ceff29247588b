"""One text for one value, however a file, a data frame or a request spells it."""

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
"""Spaces that do not break a line are spaces; those without width are nothing."""
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0+)?")
"""Whole numbers as programs write them: without zeros in front, with or without a fraction of zeros."""
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.(?:0+|\d*[1-9]))?|\.\d*[1-9])(?:e[+-]?\d+)?", re.IGNORECASE)
"""Numbers as programs write them, which excludes 01, 1.10 and 1.0.3."""
_TRUTHS = ("true", "false")
CONTAINERS = (list, tuple, set, frozenset, dict, np.ndarray)
"""Containers: not allowed in the cells of a table."""


def clean_text(text: str) -> str:
    """Without spaces around, with plain spaces inside, accented letters as one character (Unicode NFC)."""
    return unicodedata.normalize("NFC", text).translate(_SPACES).strip()


def plain_text(value: object, *, as_written: bool = False) -> str:
    """A category, label or group as text.

    Whole numbers have no fraction: 1, 1.0, "1", "1.0" and " 1" are "1", for integers become floats where one is
    missing. Truth values are "True" and "False", whatever the case. Texts with other fractions stay as they are, for
    the versions 1.1 and 1.10 differ, and so do texts with zeros in front, for codes such as 01 and 01.0 are no numbers.
    With `as_written` the text "1.0" stays "1.0" (see `are_names`); the number 1.0 is "1" even then. Bytes are UTF-8.
    Raises `ValueError` for other bytes and for lists and the like.
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
    """Whether two of these different texts, such as 1 and 1.0, are the same whole number."""
    numbers = [plain_text(name) for name in set(names) if _WHOLE.fullmatch(name)]
    return len(set(numbers)) < len(numbers)


def are_names(values: pd.Series[Any]) -> bool:
    """Whether the texts in a column that look like whole numbers are names, so that 1 and 1.0 are two values.

    They are where both spellings occur, and another text shows that the texts are no numbers: a word (`beta`), a
    version (`1.0.3`, `1.10`), a code (`01`). Otherwise 1 and 1.0 are spellings of one number.
    """
    if is_numeric_dtype(values.dtype):
        return False
    held = values.cat.remove_unused_categories().cat.categories if _is_category(values) else values
    texts = {clean_text(text) for text in {_decoded(value) for value in held if isinstance(value, str | bytes)}}
    return names_differ(texts) and any(not _NUMBER.fullmatch(text) and text.lower() not in _TRUTHS for text in texts)


def distinct_texts(values: pd.Series[Any], *, as_written: bool = False) -> tuple[NDArray[np.intp], list[str]]:
    """(code of each row, -1 where it is missing, and the text of each code); texts may occur under several codes.

    `as_written` and the errors are those of `plain_text`.
    """
    if is_object_dtype(values.dtype) and infer_dtype(values, skipna=True) != "string":
        # 1, 1.0 and True are one key to pandas, whichever comes first
        values = values.map(partial(plain_text, as_written=as_written), na_action="ignore")
    codes, distinct = pd.factorize(values)
    return codes, [plain_text(value, as_written=as_written) for value in distinct]


def _is_category(values: pd.Series[Any]) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)


def _decoded(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
