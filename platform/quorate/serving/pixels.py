"""Convert nested JSON arrays to pixels; report the exact place of the first wrong number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.serving.errors import RequestError

Shape = tuple[int, int, int]
Dims = tuple[int | None, ...]
INTEGERS = {int}
NUMBERS = {int, float}


def read_pixels(value: Any, *, shape: Shape, max_rows: int, field: str = "inputs") -> NDArray[np.uint8]:
    """Return uint8 (n, H, W, C) from nested lists of integers in [0, 255]; raises `RequestError`.

    `value` has the shape (n, H, W, C), or (H, W, C) for one image. If C is 1, the last axis can be left out.
    """
    dims = _dims(value, shape, field)
    if dims[0] is None:
        if len(value) > max_rows:
            raise RequestError(
                413, f"{len(value)} rows in one request", field=field, expected=f"at most {max_rows} rows"
            )
        if not value:
            raise RequestError(422, "no rows", field=field, expected=form(shape))
    pixels = bytearray()
    _collect(value, dims, field, (), pixels)
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, *shape)


def form(shape: Shape) -> str:
    """Describe the accepted shapes in words."""
    height, width, channels = shape
    short = f", or (n, {height}, {width})" if channels == 1 else ""
    return f"integers from 0 to 255 of shape (n, {height}, {width}, {channels}){short}"


def _dims(value: Any, shape: Shape, field: str) -> Dims:
    """Return the shape that was sent, from the depth of the nesting; None means any number of rows."""
    height, width, channels = shape
    depth, lengths = _depth(value)
    if depth == 4 or lengths == [0]:
        return (None, height, width, channels)
    if depth == 3 and (channels > 1 or (lengths[2] == 1 and lengths[:2] == [height, width])):
        return (height, width, channels)
    if depth == 3:
        return (None, height, width)
    if depth == 2 and channels == 1:
        return (height, width)
    found = f"{depth} levels of arrays" if depth else f"{kind(value)}"
    raise RequestError(422, f"found {found}", field=field, expected=form(shape))


def _depth(value: Any) -> tuple[int, list[int]]:
    """Return the levels of nesting along the first elements, and the length of each."""
    lengths: list[int] = []
    while isinstance(value, list):
        lengths.append(len(value))
        value = value[0] if value else None
    return len(lengths), lengths


def _collect(value: Any, dims: Dims, field: str, at: tuple[int, ...], pixels: bytearray) -> None:
    expected = dims[0]
    if not isinstance(value, list):
        raise RequestError(
            422, f"found {kind(value)}", field=place(field, at), expected=f"an array of {expected} elements"
        )
    if expected is not None and len(value) != expected:
        raise RequestError(
            422,
            f"an array of {len(value)} elements",
            field=place(field, at),
            expected=f"an array of {expected} elements",
        )
    if len(dims) == 1:
        pixels += _line(value, field, at)
        return
    for i, item in enumerate(value):
        _collect(item, dims[1:], field, (*at, i), pixels)


def _line(values: list[Any], field: str, at: tuple[int, ...]) -> bytes:
    """Return an innermost list as bytes; whole floats such as 3.0 are accepted, `true` is not."""
    types = set(map(type, values))
    if types == NUMBERS or types == {float}:
        values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
        types = set(map(type, values))
    if types == INTEGERS:
        try:
            return bytes(values)
        except (ValueError, OverflowError):
            pass
    for i, value in enumerate(values):
        if type(value) is not int or not 0 <= value <= 255:
            raise RequestError(
                422,
                f"found {kind(value)}",
                field=place(field, (*at, i)),
                expected="an integer from 0 to 255",
            )
    raise AssertionError("a refused line has a refused value")


def place(field: str, at: tuple[int, ...]) -> str:
    return field + "".join(f"[{i}]" for i in at)


def kind(value: Any) -> str:
    """Describe a JSON value in a few words, because its text can be very long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # not str(), which fails for very long integers
        return str(value) if abs(value) < 10**15 else "a very large integer"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
