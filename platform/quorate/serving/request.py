"""Convert the body of `POST /v1/predict` to rows for the model, or reject it with an error that names the wrong
field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quorate.data.signature import ImageSignature
from quorate.registry import did_you_mean
from quorate.serving import pixels, records
from quorate.serving.batcher import Rows
from quorate.serving.encoded_images import read_picture, read_pictures
from quorate.serving.errors import SHOWN_CHARACTERS, RequestError
from quorate.serving.model import ModelInfo
from quorate.serving.pixels import kind, read_pixels
from quorate.serving.records import other_keys, read_records

JSON = "application/json"
PICTURES = ("image/jpeg", "image/png")
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def check_content_type(header: str | None, encoding: str | None, *, model: ModelInfo) -> str:
    """Return the media type of a body if it is supported; raises `RequestError` 415."""
    pictures = PICTURES if isinstance(model.signature, ImageSignature) else ()
    if encoding not in (None, "", "identity"):
        raise RequestError(415, f"the body is compressed ({encoding})", field="Content-Encoding")
    media = (header or "").partition(";")[0].strip().lower()
    if media not in (JSON, *pictures):
        said = f"cannot read {media}" if media else "the type of the body is missing"
        accepted = ", ".join(filter(None, (JSON, " or ".join(pictures))))
        raise RequestError(415, said, field="Content-Type", expected=accepted)
    return media


def check_query(items: Sequence[tuple[str, str]], *known: str) -> dict[str, str]:
    """Return the query parameters by name; raises `RequestError` 400 for unknown and repeated parameters."""
    found: dict[str, str] = {}
    for name, value in items:
        shown = name[:SHOWN_CHARACTERS]
        if name not in known:
            expected = ", ".join(known) if known else "no parameters"
            problem = f"unknown query parameter {shown!r}{did_you_mean(shown, list(known))}"
            raise RequestError(400, problem, field=shown, expected=expected)
        if name in found:
            raise RequestError(400, f"the query parameter {shown!r} is given twice", field=shown, expected="one value")
        found[name] = value
    return found


def read_flag(value: str | None, field: str) -> bool:
    """Return the value of a query parameter that is `true` or `false`; false if it is missing."""
    if value is None:
        return False
    if value.lower() not in FLAGS:
        raise RequestError(400, f"found {value[:40]!r}", field=field, expected="true or false")
    return FLAGS[value.lower()]


@dataclass(frozen=True, eq=False)
class Body:
    """The content of a body: rows, which are uint8 images (n, H, W, C) or values (n, columns), and keys that are not
    columns."""

    rows: Rows
    ignored: tuple[str, ...] = ()


def read_rows(body: bytes, media: str, *, model: ModelInfo, max_rows: int) -> Body:
    """Parse a body of type `media`; raises `RequestError`."""
    if not body:
        raise RequestError(400, "the body is empty", field="body", expected=_expected(model))
    signature = model.signature
    if isinstance(signature, ImageSignature) and media != JSON:
        return Body(read_picture(body, shape=signature.shape, resize=model.resize, field="body")[None])
    fields = ["inputs", "images"] if isinstance(signature, ImageSignature) else ["inputs"]
    field, value = _only_field(_document(body), fields, model)
    if not isinstance(signature, ImageSignature):
        rows = read_records(value, signature=signature, max_rows=max_rows)
        return Body(rows, other_keys(value, signature=signature))
    if field == "inputs":
        return Body(read_pixels(value, shape=signature.shape, max_rows=max_rows))
    return Body(read_pictures(value, shape=signature.shape, resize=model.resize, max_rows=max_rows))


def _only_field(document: Any, fields: list[str], model: ModelInfo) -> tuple[str, Any]:
    """Return the only field of the document; raises `RequestError`."""
    if not isinstance(document, dict):
        raise RequestError(422, f"found {kind(document)}", field="body", expected=_expected(model))
    for key in document:
        if key not in fields:
            shown = key[:SHOWN_CHARACTERS]
            raise RequestError(
                422,
                f"unknown field {shown!r}{did_you_mean(shown, fields)}",
                field=shown,
                expected=_expected(model),
            )
    if len(document) != 1:
        found = "both 'inputs' and 'images'" if document else "an object without fields"
        raise RequestError(422, f"found {found}", field="body", expected=_expected(model))
    ((field, value),) = document.items()
    return field, value


def _expected(model: ModelInfo) -> str:
    if isinstance(model.signature, ImageSignature):
        rows = pixels.form(model.signature.shape)
        return f'{{"inputs": {rows}}} or {{"images": [base64 of a JPEG or PNG file, …]}}'
    return f'{{"inputs": {records.form(model.signature)}}}'


def _document(body: bytes) -> Any:
    """Parse JSON. NaN and Infinity, which Python accepts, are rejected later, when their place is known."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the body is not UTF-8 (byte {error.start})", field="body", expected="JSON in UTF-8"
        ) from None
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply", field="body", expected="JSON") from None
    except RequestError:
        raise
    except ValueError as error:
        # a JSONDecodeError, or the error for an integer with thousands of digits
        raise RequestError(400, f"the body is not JSON: {str(error)[:200]}", field="body", expected="JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)[:SHOWN_CHARACTERS]
        raise RequestError(422, f"the key {twice!r} occurs twice in one object", field=twice, expected="one value")
    return found
