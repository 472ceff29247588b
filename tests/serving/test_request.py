"""Bodies of requests: accepted forms, and the error for each mistake."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quorate.data.signature import ImageSignature
from quorate.serving.errors import RequestError
from quorate.serving.model import ModelInfo
from quorate.serving.request import JSON, check_content_type, check_query, read_flag, read_rows

GREY = ModelInfo("job", "version", ("a", "b"), ImageSignature((3, 2, 1)))
COLOUR = ModelInfo("job", "version", ("a", "b"), ImageSignature((3, 2, 3)))
ONE = [[1, 2], [3, 4], [5, 6]]


def read(body: Any, model: ModelInfo = GREY) -> np.ndarray:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_rows(data, JSON, model=model, max_rows=4).rows


def png(size: tuple[int, int] = (2, 3), kind: str = "PNG") -> str:
    file = BytesIO()
    Image.new("L", size, 7).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "inputs",
    [ONE, [ONE], [[[v] for v in row] for row in ONE], [[[[v] for v in row] for row in ONE]]],
    ids=["(H, W)", "(n, H, W)", "(H, W, 1)", "(n, H, W, 1)"],
)
def test_each_form_of_one_grey_image_gives_the_same_row(inputs: list[Any]) -> None:
    np.testing.assert_array_equal(read({"inputs": inputs}), np.array(ONE).reshape(1, 3, 2, 1))


@pytest.mark.parametrize("n", [None, 1, 4])
def test_colour_images_are_read_in_their_order(n: int | None) -> None:
    x = np.random.default_rng(0).integers(0, 256, ([] if n is None else [n]) + [3, 2, 3])

    rows = read({"inputs": x.tolist()}, COLOUR)

    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, x.reshape(-1, 3, 2, 3))


def test_whole_floats_are_integers() -> None:
    rows = read(b'{"inputs": [[1.0, 2], [3, 4.0], [5e0, 255.0]]}')

    assert rows.ravel().tolist() == [1, 2, 3, 4, 5, 255]


def test_a_duplicate_key_is_refused() -> None:
    with pytest.raises(RequestError) as refused:
        read(b'{"inputs": 1, "inputs": [[1, 2], [3, 4], [5, 6]]}')

    assert (refused.value.status, refused.value.field) == (422, "inputs")
    assert "occurs twice" in refused.value.message


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ([("member", "true")], "member", "unknown query parameter 'member'; did you mean 'members'?"),
        ([("x" * 500, "1")], "x" * 80, "unknown query parameter"),
        ([("members", "true"), ("members", "false")], "members", "is given twice"),
    ],
)
def test_an_unknown_or_duplicate_query_parameter_is_refused(
    query: list[tuple[str, str]], field: str, said: str
) -> None:
    with pytest.raises(RequestError) as refused:
        check_query(query, "members")

    assert (refused.value.status, refused.value.field) == (400, field)
    assert said in refused.value.message


def test_base64_pictures_are_decoded_and_fitted() -> None:
    rows = read({"images": [png(), png((20, 30), "JPEG")]})

    assert rows.shape == (2, 3, 2, 1)
    assert (rows == 7).all()


def replaced(value: str) -> bytes:
    return b'{"inputs": [[[1, 2], [3, 4], [5, %s]]]}' % value.encode()


BAD = [
    (b"", 400, "body"),
    (b"{", 400, "body"),
    (b'\xff{"inputs": 1}', 400, "body"),
    (b"[" * 100_000, 400, "body"),
    (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "body"),
    (b'{"inputs": [[' + b"9" * 5000 + b"]]}", 400, "body"),
    (b"NaN", 422, "body"),
    ([ONE], 422, "body"),
    ({}, 422, "body"),
    ({"input": [ONE]}, 422, "input"),
    ({"inputs": [ONE], "images": []}, 422, "body"),
    ({"inputs": [ONE], "params": {}}, 422, "params"),
    ({"inputs": None}, 422, "inputs"),
    ({"inputs": 5}, 422, "inputs"),
    ({"inputs": "AAAA"}, 422, "inputs"),
    ({"inputs": {"0": ONE}}, 422, "inputs"),
    ({"inputs": []}, 422, "inputs"),
    ({"inputs": [1, 2]}, 422, "inputs"),
    ({"inputs": [[]]}, 422, "inputs"),
    ({"inputs": [[[]]]}, 422, "inputs[0]"),
    ({"inputs": [[[[[1]]]]]}, 422, "inputs"),
    ({"inputs": [ONE, ONE[:2]]}, 422, "inputs[1]"),
    ({"inputs": [ONE, ONE, [[1, 2], [3, 4], [5]]]}, 422, "inputs[2][2]"),
    ({"inputs": [ONE, 7]}, 422, "inputs[1]"),
    ({"inputs": [ONE, [[1, 2], None, [5, 6]]]}, 422, "inputs[1][1]"),
    ({"inputs": [ONE] * 5}, 413, "inputs"),
    (replaced("-1"), 422, "inputs[0][2][1]"),
    (replaced("256"), 422, "inputs[0][2][1]"),
    (replaced("1" + "0" * 400), 422, "inputs[0][2][1]"),
    (replaced("0.5"), 422, "inputs[0][2][1]"),
    (replaced("1e999"), 422, "inputs[0][2][1]"),
    (replaced("NaN"), 422, "inputs[0][2][1]"),
    (replaced("-Infinity"), 422, "inputs[0][2][1]"),
    (replaced('"6"'), 422, "inputs[0][2][1]"),
    (replaced("true"), 422, "inputs[0][2][1]"),
    (replaced("null"), 422, "inputs[0][2][1]"),
    (replaced("[6]"), 422, "inputs[0][2][1]"),
    (replaced("{}"), 422, "inputs[0][2][1]"),
    ({"images": "AAAA"}, 422, "images"),
    ({"images": []}, 422, "images"),
    ({"images": [png()] * 5}, 413, "images"),
    ({"images": [png(), 5]}, 422, "images[1]"),
    ({"images": [png(), "not base64!"]}, 422, "images[1]"),
    ({"images": [png(), "ÄÖ"]}, 422, "images[1]"),
    ({"images": [png(), "AAAA"]}, 422, "images[1]"),
    ({"images": [png()[:60]]}, 422, "images[0]"),
    ({"images": [png(kind="GIF")]}, 422, "images[0]"),
    ({"images": [png((5000, 4000))]}, 422, "images[0]"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_bad_body_is_refused_with_its_field(body: Any, status: int, field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        read(body)

    assert (refusal.value.status, refusal.value.field) == (status, field)
    assert refusal.value.expected
    assert len(json.dumps(refusal.value.body())) < 800


def test_a_colour_model_refuses_grey_images_and_names_the_accepted_shape() -> None:
    with pytest.raises(RequestError) as refusal:
        read({"inputs": ONE}, COLOUR)

    assert refusal.value.body()["error"] == {
        "field": "inputs",
        "message": "found 2 levels of arrays",
        "expected": "integers from 0 to 255 of shape (n, 3, 2, 3)",
    }


def test_a_misspelt_field_gets_the_right_name_as_a_suggestion() -> None:
    with pytest.raises(RequestError, match="did you mean 'images'"):
        read({"image": []})


@pytest.mark.parametrize("media", ["image/png", "image/jpeg"])
def test_an_invalid_picture_is_refused(media: str) -> None:
    with pytest.raises(RequestError, match="not a JPEG or PNG picture") as refusal:
        read_rows(b"{}", media, model=GREY, max_rows=4)

    assert (refusal.value.status, refusal.value.field) == (422, "body")


@pytest.mark.parametrize("header", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_read_whatever_its_parameters(header: str) -> None:
    assert check_content_type(header, None, model=GREY) == JSON


@pytest.mark.parametrize(
    ("header", "encoding", "field"),
    [
        (None, None, "Content-Type"),
        ("", None, "Content-Type"),
        ("text/plain", None, "Content-Type"),
        ("image/gif", None, "Content-Type"),
        ("multipart/form-data; boundary=x", None, "Content-Type"),
        ("application/json", "gzip", "Content-Encoding"),
    ],
)
def test_other_types_and_encodings_get_415(header: str | None, encoding: str | None, field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        check_content_type(header, encoding, model=GREY)

    assert (refusal.value.status, refusal.value.field) == (415, field)


def test_a_flag_is_true_or_false_and_nothing_else() -> None:
    assert [read_flag(value, "members") for value in ("true", "1", "false", None)] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(RequestError) as refusal:
        read_flag("maybe", "members")
    assert (refusal.value.status, refusal.value.field) == (400, "members")
