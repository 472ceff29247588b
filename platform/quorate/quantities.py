"""Parse and format sizes and times, such as `2GiB` and `30d`."""

from __future__ import annotations

import re

SIZE = r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*$"
"""The pattern of text that `read_bytes` accepts."""

TIME = r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$"
"""The pattern of text that `read_seconds` accepts."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_bytes(text: str) -> int:
    """Parse bytes from text such as `2GiB`, `500M` or `1024` (units are powers of 1,024); raises `ValueError`."""
    match = re.match(SIZE, text)
    if match is None:
        raise ValueError(f"{text!r} is neither a number of bytes nor a size such as '2GiB'")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def read_seconds(text: str) -> float:
    """Parse seconds from text such as `90s`, `30m`, `12h` or `30d`; raises `ValueError`."""
    match = re.match(TIME, text)
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        number = text.strip()
        raise ValueError(f"{text!r} has no unit; write '{number}s', '{number}m' or '{number}h'")
    if match is None:
        raise ValueError(f"{text!r} is not a time such as '90s', '30m', '12h' or '30d'")
    return float(match[1]) * _SECONDS[match[2]]


def format_bytes(count: float) -> str:
    """Format bytes in the largest unit in which the number is at least 1, such as `1.5 GiB`."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def format_seconds(seconds: float) -> str:
    """Format seconds in the largest unit in which the number is at least 2: `45 s`, `12 min`, `3.5 h`, `12 d`."""
    for name, length, digits in (("d", 86400, 0), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {name}"
    return f"{seconds:.0f} s"
