"""The body of `POST /v1/predict` to rows of pixels, or a refusal that names the field."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.images import ImageError, decode_image
from quorate.registry import did_you_mean
from quorate.serving.errors import RequestError
from quorate.serving.model import ModelInfo
from quorate.serving.pixels import form, kind, read_pixels

JSON = "application/json"
PICTURES = ("image/jpeg", "image/png")
FIELDS = ["inputs", "images"]
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def check_content_type(header: str | None, encoding: str | None) -> str:
    """The media type of a body that can be read; raises `RequestError` 415."""
    accepted = f"{JSON}, {' or '.join(PICTURES)}"
    if encoding not in (None, "", "identity"):
        raise RequestError(415, f"the body is compressed ({encoding})", field="Content-Encoding")
    media = (header or "").partition(";")[0].strip().lower()
    if media not in (JSON, *PICTURES):
        said = f"cannot read {media}" if media else "the type of the body is missing"
        raise RequestError(415, said, field="Content-Type", expected=accepted)
    return media


def read_flag(value: str | None, field: str) -> bool:
    """A query parameter that is true or false; false when left out."""
    if value is None:
        return False
    if value.lower() not in FLAGS:
        raise RequestError(400, f"found {value[:40]!r}", field=field, expected="true or false")
    return FLAGS[value.lower()]


def read_rows(body: bytes, media: str, *, model: ModelInfo, max_rows: int) -> NDArray[np.uint8]:
    """uint8 (n, H, W, C) from a body of type `media`; raises `RequestError`."""
    if not body:
        raise RequestError(400, "the body is empty", field="body", expected=_expected(model))
    if media != JSON:
        return _picture(body, model, "body")[None]
    document = _document(body)
    if not isinstance(document, dict):
        raise RequestError(422, f"found {kind(document)}", field="body", expected=_expected(model))
    for key in document:
        if key not in FIELDS:
            raise RequestError(
                422,
                f"unknown field{did_you_mean(key[:80], FIELDS)}",
                field=key[:80],
                expected=_expected(model),
            )
    if len(document) != 1:
        found = "both 'inputs' and 'images'" if document else "an object without fields"
        raise RequestError(422, f"found {found}", field="body", expected=_expected(model))
    if "inputs" in document:
        return read_pixels(document["inputs"], shape=model.shape, max_rows=max_rows)
    return _pictures(document["images"], model, max_rows)


def _expected(model: ModelInfo) -> str:
    return f'{{"inputs": {form(model.shape)}}} or {{"images": [base64 of a JPEG or PNG file, …]}}'


def _document(body: bytes) -> Any:
    """Any JSON value. NaN and Infinity, which Python takes, are refused where their place is known."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the body is not UTF-8 (byte {error.start})", field="body", expected="JSON in UTF-8"
        ) from None
    try:
        return json.loads(text)
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply", field="body", expected="JSON") from None
    except ValueError as error:
        # besides JSONDecodeError: integers of thousands of digits
        raise RequestError(400, f"the body is not JSON: {str(error)[:200]}", field="body", expected="JSON") from None


def _pictures(value: Any, model: ModelInfo, max_rows: int) -> NDArray[np.uint8]:
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
    rows = np.empty((len(value), *model.shape), np.uint8)
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
        rows[i] = _picture(data, model, field)
    return rows


def _picture(data: bytes, model: ModelInfo, field: str) -> NDArray[np.uint8]:
    try:
        return decode_image(data, shape=model.shape, resize=model.resize)
    except ImageError as error:
        raise RequestError(
            422, str(error), field=field, expected="a JPEG or PNG picture of at most 16 megapixels"
        ) from None
