"""Detect text columns that contain numbers: with a few other texts, or with separators, signs or units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.data.plain_text import NEARLY_ALL, clean_text

_SIGN, _CURRENCY = r"[+-]?", "[$€£¥₹]|USD|EUR|GBP|CHF"
_PLAIN = rf"{_SIGN}(?:\d+\.?\d*|\.\d+)"
_GROUPED = rf"{_SIGN}\d{{1,3}}(?:[,' ]\d{{3}})+(?:\.\d+)?"
_COMMA = rf"{_SIGN}(?:\d+|\d{{1,3}}(?:\.\d{{3}})+),\d+"
_ANY = rf"(?:{_GROUPED}|{_COMMA}|{_PLAIN})"
_NOTATIONS = (
    ("thousands separators", re.compile(_GROUPED)),
    ("decimal commas", re.compile(_COMMA)),
    ("percent signs", re.compile(rf"{_ANY} ?[%‰]")),
    ("currency signs", re.compile(rf"(?:-?(?:{_CURRENCY}) ?{_ANY}|{_ANY} ?(?:{_CURRENCY}))")),
    ("brackets for negative numbers", re.compile(rf"\((?:{_CURRENCY})?{_ANY}\)")),
)
_UNIT = re.compile(rf"({_ANY}) ?([^\W\d_]{{1,5}}|°[CF]?)")
_HEXADECIMAL_DIGITS = "hexadecimal digits"
_HEXADECIMAL = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)

_MOST = 0.5
"""Minimum fraction of numbers for a text column to count as numeric, if all other rows share a few texts, such as marks
of missing values. An assumption, not a measurement."""
_FEW_TEXTS = 3
"""Maximum number of different texts that may be marks of missing values, see `_MOST`. An assumption, not a
measurement."""
_FEW_NUMBERS = 20
"""Integers with more distinct values than this count as measurements or counts; fewer can be names of grades or sizes.
An assumption, not a measurement."""
_SHOWN = 3
"""Maximum number of texts in a message."""


@dataclass(frozen=True)
class NumberTexts:
    """The numbers that were found in a column of text.

    `problem` says why it is not a column of categories, `note` why it may not be one; both are empty if there is no
    problem. `text` is the first cell to correct; `marked` means that all cells are numbers in an unsupported notation.
    """

    problem: str = ""
    note: str = ""
    text: str | None = None
    marked: bool = False


def detect_numbers(values: pd.Series[Any]) -> NumberTexts:
    """Detect whether a column of text, with or without missing values, is really a column of numbers."""
    counts = values.value_counts(sort=False, dropna=True)
    counts = counts[counts > 0]
    raw = [str(text) for text in counts.index]
    texts, rows = [clean_text(text) for text in raw], counts.to_numpy(np.int64)
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    plain = ~np.isnan(numbers)
    if plain.all():
        return NumberTexts()
    names = [None if known else _notation(text) for known, text in zip(plain, texts, strict=True)]
    marked = np.array([name is not None for name in names])
    quantity = _is_quantity(numbers[plain], int((plain | marked).sum()), int(rows.sum()))
    if rows[marked].sum() >= _MOST * rows.sum() and rows[plain | marked].sum() >= NEARLY_ALL * rows.sum():
        return _marked(raw, names, quantity=quantity)
    others = [i for i in np.argsort(-rows, kind="stable") if not plain[i]]
    share = float(rows[plain].sum() / rows.sum())
    told = _listed(raw, rows, others)
    if quantity and (share >= NEARLY_ALL or (share >= _MOST and len(others) <= _FEW_TEXTS)):
        return NumberTexts(
            f"holds {told}, where the other {rows[plain].sum():,} values are numbers", text=_first(raw, others)
        )
    if share >= _MOST:
        return NumberTexts(note=f"holds numbers and texts ({told}), and is treated as categorical")
    return NumberTexts()


def _marked(raw: Sequence[str], names: Sequence[str | None], *, quantity: bool) -> NumberTexts:
    example = next(i for i, name in enumerate(names) if name is not None)
    kinds = list(dict.fromkeys(name for name in names if name is not None))
    units = [kind for kind in kinds if kind.startswith("the unit")]
    if len(units) > 1 or ((units or _HEXADECIMAL_DIGITS in kinds) and not quantity):
        return NumberTexts()  # 12a and 12b are names; a few sizes such as 8GB and 16GB can also be names
    return NumberTexts(
        f"holds numbers with {' and '.join(kinds)}, such as {raw[example]!r}", text=raw[example], marked=True
    )


def _notation(text: str) -> str | None:
    for name, pattern in _NOTATIONS:
        if pattern.fullmatch(text):
            return name
    if _HEXADECIMAL.fullmatch(text):
        return _HEXADECIMAL_DIGITS
    unit = _UNIT.fullmatch(text)
    return f"the unit {unit[2]!r}" if unit else None


def _is_quantity(plain: NDArray[np.float64], distinct: int, rows: int) -> bool:
    """Return whether the numbers are a quantity: some have fractions, or there are many distinct ones."""
    finite = plain[np.isfinite(plain)]
    return bool((finite % 1 != 0).any()) or distinct > min(_FEW_NUMBERS, rows / 2)


def _listed(raw: Sequence[str], rows: NDArray[np.integer[Any]], others: Sequence[int]) -> str:
    told = [repr(raw[i][:40]) + (f" ({rows[i]:,} times)" if rows[i] > 1 else "") for i in others[:_SHOWN]]
    more = len(others) - len(told)
    return ", ".join(told) + (f" and {more:,} other texts" if more else "")


def _first(raw: Sequence[str], others: Sequence[int]) -> str:
    """Return the text that comes first in the column; the texts are in the order of their first rows."""
    return raw[min(others)]
