"""Sizes and times as people write and read them: `2GiB`, `30d`."""

from __future__ import annotations

import re

SIZE = r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*$"
"""What `read_bytes` reads."""

TIME = r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$"
"""What `read_seconds` reads."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_bytes(text: str) -> int:
    """A number of bytes from text such as `2GiB`, `500M` or `1024`; the units are powers of 1,024. Or `ValueError`."""
    match = re.match(SIZE, text)
    if match is None:
        raise ValueError(f"{text!r} is neither a number of bytes nor a size such as '2GiB'")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def read_seconds(text: str) -> float:
    """Seconds from text such as `90s`, `30m`, `12h` or `30d`; raises `ValueError`."""
    match = re.match(TIME, text)
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        number = text.strip()
        raise ValueError(f"{text!r} has no unit; write '{number}s', '{number}m' or '{number}h'")
    if match is None:
        raise ValueError(f"{text!r} is no time such as '90s', '30m', '12h' or '30d'")
    return float(match[1]) * _SECONDS[match[2]]


def say_bytes(count: float) -> str:
    """`1.5 GiB`: three digits at most before the point, one behind it."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def say_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `12 d`: the largest unit of which there are at least two."""
    for name, length, digits in (("d", 86400, 0), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {name}"
    return f"{seconds:.0f} s"
