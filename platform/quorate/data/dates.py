"""Recognize dates and clock times in text: to order rows by time, and to refuse columns of dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.data.plain_text import NEARLY_ALL, clean_text

Seconds = NDArray[np.float64]

_FORMATS = (
    "ISO8601",
    *("%Y/%m/%d", "%Y.%m.%d", "%Y-%b-%d", "%Y %b %d", "%Y %B %d"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    *("%d.%m.%Y", "%d.%m.%y"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d"),
    *("%d-%b-%Y", "%d-%b-%y", "%d-%B-%Y", "%d %b %Y", "%d %b %y", "%d %B %Y", "%d. %b %Y", "%d. %B %Y"),
    *("%d%b%Y", "%d/%b/%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%b. %d, %Y"),
    *("%a, %d %b %Y", "%a %d %b %Y", "%A, %d %B %Y", "%a, %b %d, %Y", "%A, %B %d, %Y", "%a %b %d %Y"),
    *("%Y/%m", "%m/%Y", "%m-%Y", "%m.%Y", "%Y-%b", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%b, %Y", "%B, %Y"),
    *("%b %d", "%B %d", "%d %b", "%d %B", "%d-%b"),
)
"""Formats of the text before a clock time. Month names are English, as in `strptime` without a locale."""
_CLOCK = re.compile(
    r"(?P<date>.*?)(?:^|[ T:]|, ?)"
    r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:[.,]\d+)?))?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?"
    r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
    r"(?P<year> \d{4})?",  # after the clock in C's ctime: Mon Jan  1 10:00:00 2024
    re.IGNORECASE,
)
_QUARTER = re.compile(r"(\d{4})[- ]?Q([1-4])", re.IGNORECASE)
_DURATION = re.compile(r"-?\d+ days?(,? [+-]?\d{1,2}:\d\d:\d\d(\.\d+)?)?", re.IGNORECASE)
_SAMPLE = 50
"""Number of texts that are checked first; the others are checked only if at least half of these are dates. An
assumption, not a measurement."""


class DatesError(ValueError):
    """Texts cannot be read as dates; `text` is the first wrong one, or None if all of them are."""

    def __init__(self, problem: str, text: str | None = None) -> None:
        super().__init__(problem)
        self.text = text


def are_dates(texts: Sequence[str]) -> bool:
    """Return whether nearly all of these distinct texts are dates, clock times or durations, in any mixture of
    formats."""
    sample = texts[:_SAMPLE]
    if sum(map(_is_dated, sample)) < len(sample) / 2:
        return False
    return _part_of_dates(sample) >= 0.5 and _part_of_dates(texts) >= NEARLY_ALL


def _part_of_dates(texts: Sequence[str]) -> float:
    cleaned = [clean_text(text) for text in texts]
    known = np.array([bool(_DURATION.fullmatch(text)) for text in cleaned])
    parts, seconds = _split(cleaned)
    known |= (parts == "").to_numpy() & ~np.isnan(seconds)
    for format in _FORMATS:
        left = np.flatnonzero(~known)
        if not len(left):
            break
        known[left] = ~np.isnan(_days(parts.iloc[left], format))
    return float(known.mean()) if len(texts) else 0.0


def date_seconds(texts: Sequence[str]) -> Seconds:
    """Return the seconds since 1970 in UTC of each text, or since midnight if all are clock times.

    Raises `DatesError` if a text is not a date, or if day and month cannot be distinguished.
    """
    cleaned = [clean_text(text) for text in texts]
    whole = pd.to_datetime(pd.Series(cleaned, dtype=object), format="ISO8601", utc=True, errors="coerce")
    if whole.notna().all():
        return seconds_since_1970(whole)
    parts, clock = _split(cleaned)
    if (parts == "").all() and not np.isnan(clock).any():
        return clock
    clock = np.nan_to_num(clock)
    some = parts[:_SAMPLE]
    likely = [format for format in _FORMATS if np.isnan(_days(some, format)).mean() <= 0.5]
    read = {format: _days(parts, format) + clock for format in likely or _FORMATS[:1]}
    right = {format: found for format, found in read.items() if not np.isnan(found).any()}
    if not right:
        best = max(read.values(), key=lambda found: int((~np.isnan(found)).sum()))
        raise DatesError("is neither a number nor a date such as 2024-12-31", texts[int(np.isnan(best).argmax())])
    orders = {format: np.unique(found, return_inverse=True)[1].tobytes() for format, found in right.items()}
    if len(set(orders.values())) > 1:
        example = next(text for text in texts if text)
        raise DatesError(
            f"dates such as {example!r} can be read in more than one way ({' or '.join(map(_in_words, right))}), and "
            "the order of the rows depends on it; write them as 2024-12-31"
        )
    return next(iter(right.values()))


def _is_dated(text: str) -> bool:
    """Return whether the text has digits with other characters between them: a plain number is not a date."""
    return (bool(re.search(r"\d", text)) and not re.fullmatch(r"\s*[+-]?[\d.]*\s*", text)) or bool(
        re.fullmatch(r"\s*\d{1,4}\.\d{1,2}\.\d{1,4}\s*", text)
    )


def _split(texts: Sequence[str]) -> tuple[pd.Series[str], Seconds]:
    """Return the text before each clock time, and the seconds since midnight in UTC (NaN without a clock time)."""
    parts, seconds = list(texts), np.full(len(texts), np.nan)
    for i, text in enumerate(texts):
        found = _CLOCK.fullmatch(text)
        if found is None or int(found["hour"]) > (12 if found["half"] else 24):
            continue
        hour = int(found["hour"])
        if found["half"]:
            hour = hour % 12 + 12 * (found["half"].lower() == "p")
        second = float((found["second"] or "0").replace(",", "."))
        parts[i] = (found["date"] + (found["year"] or "")).strip(" ,")
        seconds[i] = hour * 3600 + int(found["minute"]) * 60 + second - _offset(found["zone"])
    return pd.Series(parts, dtype=object).str.replace(r"\s+", " ", regex=True), seconds


def _offset(zone: str | None) -> int:
    if zone is None or zone.upper() in ("Z", "UTC", "GMT"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _days(parts: pd.Series[str], format: str) -> Seconds:
    """Return the seconds since 1970 of date parts in this `format`, and NaN for those in another format."""
    if format == "ISO8601":
        parts = parts.str.replace(_QUARTER, lambda found: f"{found[1]}-{3 * int(found[2]) - 2:02}", regex=True)
        parts = parts.where(parts.map(_is_dated))
    codes, distinct = pd.factorize(parts)
    found = pd.Series(pd.to_datetime(distinct, format=format, utc=True, errors="coerce"))
    return np.append(seconds_since_1970(found), np.nan)[codes]


def seconds_since_1970(dates: pd.Series[Any]) -> Seconds:
    """Return the seconds since 1970 of times in UTC."""
    seconds: Any = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(seconds, np.float64)


def _in_words(format: str) -> str:
    words = {"d": "day", "m": "month", "b": "month", "B": "month", "Y": "year", "y": "year"}
    return "-".join(words[letter] for letter in re.findall("%([dmbBYy])", format)) or "year-month-day"
