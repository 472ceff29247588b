"""Decode JPEG and PNG pictures in a request, plain or in base64, to pixels in the model's input shape."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.images import ImageError, decode_image
from quorate.serving.errors import RequestError
from quorate.serving.pixels import Shape, kind


def read_pictures(value: Any, *, shape: Shape, resize: int | None, max_rows: int) -> NDArray[np.uint8]:
    """Return uint8 (n, H, W, C) from an array of base64 strings; raises `RequestError`."""
    if not isinstance(value, list):
        raise RequestError(422, f"found {kind(value)}", field="images", expected="an array of base64 strings")
    if not value:
        raise RequestError(422, "no pictures", field="images", expected="an array of base64 strings")
    if len(value) > max_rows:
        raise RequestError(
            413,
            f"{len(value)} pictures in one request",
            field="images",
            expected=f"at most {max_rows} pictures",
        )
    rows = np.empty((len(value), *shape), np.uint8)
    for i, item in enumerate(value):
        field = f"images[{i}]"
        if not isinstance(item, str):
            raise RequestError(422, f"found {kind(item)}", field=field, expected="a base64 string")
        try:
            data = base64.b64decode(item, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(
                422, f"not base64: {error}", field=field, expected="base64 of a JPEG or PNG file"
            ) from None
        rows[i] = read_picture(data, shape=shape, resize=resize, field=field)
    return rows


def read_picture(data: bytes, *, shape: Shape, resize: int | None, field: str) -> NDArray[np.uint8]:
    """Return uint8 (H, W, C) from the content of a file; raises `RequestError`."""
    try:
        return decode_image(data, shape=shape, resize=resize)
    except ImageError as error:
        raise RequestError(
            422, str(error), field=field, expected="a JPEG or PNG picture of at most 16 megapixels"
        ) from None
