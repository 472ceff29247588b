"""One text for one value, however a file, a data frame or a request spells it."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_object_dtype

_SPACES = dict.fromkeys((160, 8199, 8201, 8239), " ") | {0x200B: None, 0xFEFF: None}
"""Spaces that do not break a line are spaces; those without width are nothing."""
_WHOLE = re.compile(r"(-?\d+)\.0+")
CONTAINERS = (list, tuple, set, frozenset, dict, np.ndarray)
"""Containers: not allowed in the cells of a table."""


def clean_text(text: str) -> str:
    """Without spaces around, with plain spaces inside, accented letters as one character (Unicode NFC)."""
    return unicodedata.normalize("NFC", text).translate(_SPACES).strip()


def plain_text(value: object) -> str:
    """A category, label or group as text.

    Whole numbers have no fraction: 1, 1.0, "1", "1.0" and " 1" are "1", for integers become floats where one is
    missing. Truth values are "True" and "False", whatever the case. Texts with other fractions stay as they are, for
    the versions 1.1 and 1.10 differ, and so do texts with zeros in front, for codes such as 01 are no numbers. Bytes
    are UTF-8. Raises `ValueError` for other bytes and for lists and the like.
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
    if text.lower() in ("true", "false"):
        return text.capitalize()
    whole = _WHOLE.fullmatch(text)
    text = whole[1] if whole else text
    return "0" if text == "-0" else text


def distinct_texts(values: pd.Series[Any]) -> tuple[NDArray[np.intp], list[str]]:
    """(code of each row, -1 where it is missing, and the text of each code); texts may occur under several codes.

    Raises `ValueError` as `plain_text` does.
    """
    if is_object_dtype(values.dtype) and infer_dtype(values, skipna=True) != "string":
        # 1, 1.0 and True are one key to pandas, whichever comes first
        values = values.map(plain_text, na_action="ignore")
    codes, distinct = pd.factorize(values)
    return codes, [plain_text(value) for value in distinct]
