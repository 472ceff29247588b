"""Rows of tables in requests: the values that each column accepts, and the error for each mistake."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.serving.batcher import Batcher, Rows
from quorate.serving.errors import RequestError
from quorate.serving.model import ModelInfo, Scores
from quorate.serving.records import as_frame, example
from quorate.serving.request import JSON, check_content_type, read_rows

PEOPLE = TableSignature((Column("age", "numeric"), Column("club", "boolean"), Column("job", "categorical")))
MODEL = ModelInfo("job", "version", ("a", "b"), PEOPLE)
ONE = {"age": 39, "club": True, "job": "smith"}


def read(body: Any) -> Rows:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_rows(data, JSON, model=MODEL, max_rows=4).rows


def table(body: Any) -> Table:
    """The rows as members get them."""
    return Table.of(as_frame(read(body), PEOPLE), PEOPLE)


def values(column: str, *given: Any) -> list[Any]:
    found = table({"inputs": [ONE | {column: value} for value in given]}).frame[column]
    return [None if missing else value for value, missing in zip(found.tolist(), found.isna(), strict=True)]


def test_records_become_the_rows_that_the_members_take_whatever_the_order_of_their_keys() -> None:
    other = {"job": "nurse", "more": [1], "club": False, "age": 20.5}

    found = table({"inputs": [ONE, other]})

    assert found.signature == PEOPLE
    assert found.frame.to_numpy().tolist() == [[39, 1, "smith"], [20.5, 0, "nurse"]]


def test_a_single_record_is_one_row() -> None:
    assert table({"inputs": ONE}).frame.equals(table({"inputs": [ONE]}).frame)


def test_null_is_a_missing_value_in_every_column() -> None:
    assert table({"inputs": dict.fromkeys(ONE)}).frame.isna().all(axis=None)


def test_equal_values_in_different_json_forms_give_the_same_row() -> None:
    assert values("age", -0.5, 3, 2**60) == [-0.5, 3, 2**60]
    assert values("club", True, 1, 1.0, "yes") == [1, 1, 1, 1]
    assert values("club", False, 0, "no", "False") == [0, 0, 0, 0]
    assert values("job", 3, 3.0, "3", "") == ["3", "3", "3", ""]


def test_text_with_invalid_unicode_is_a_category_like_others() -> None:
    assert table(b'{"inputs": {"age": 1, "club": null, "job": "\\ud800"}}').frame["job"].tolist() == ["\ud800"]


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in ONE.items() if name != key}


BAD = [
    (b"", 400, "body", "empty"),
    ([ONE], 422, "body", "found an array"),
    ({}, 422, "body", "without fields"),
    ({"input": [ONE]}, 422, "input", "did you mean 'inputs'"),
    ({"images": []}, 422, "images", "unknown field"),
    (ONE, 422, "age", "unknown field"),
    ({"inputs": None}, 422, "inputs", "found null"),
    ({"inputs": 5}, 422, "inputs", "found 5"),
    ({"inputs": []}, 422, "inputs", "no rows"),
    ({"inputs": [ONE] * 5}, 413, "inputs", "5 rows in one request"),
    ({"inputs": [ONE, [39, True, "smith"]]}, 422, "inputs[1]", "found an array"),
    ({"inputs": [ONE, without("age")]}, 422, "inputs[1].age", "the key is missing"),
    ({"inputs": without("age") | {"Age": 3}}, 422, "inputs.age", "did you mean 'Age'"),
    ({"inputs": [ONE, ONE, ONE | {"age": "39"}]}, 422, "inputs[2].age", "found a string"),
    ({"inputs": [ONE | {"age": True}]}, 422, "inputs[0].age", "found true"),
    ({"inputs": [ONE | {"age": float("nan")}]}, 422, "inputs[0].age", "found nan"),
    ({"inputs": [ONE | {"age": float("inf")}]}, 422, "inputs[0].age", "found inf"),
    ({"inputs": [ONE | {"age": 10**400}]}, 422, "inputs[0].age", "a very large integer"),
    ({"inputs": [ONE | {"club": 2}]}, 422, "inputs[0].club", "found 2"),
    ({"inputs": [ONE | {"club": "perhaps"}]}, 422, "inputs[0].club", "found a string"),
    ({"inputs": [ONE | {"job": ["smith"]}]}, 422, "inputs[0].job", "found an array"),
    ({"inputs": [ONE | {"job": {}}]}, 422, "inputs[0].job", "found an object"),
    ({"inputs": [ONE | {"job": float("nan")}]}, 422, "inputs[0].job", "found nan"),
]


@pytest.mark.parametrize(("body", "status", "field", "said"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_bad_body_is_refused_with_its_field(body: Any, status: int, field: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as refusal:
        read(body)

    assert (refusal.value.status, refusal.value.field) == (status, field)
    assert refusal.value.expected
    assert len(json.dumps(refusal.value.body())) < 800


def test_the_error_names_the_first_expected_columns_and_where_to_find_the_others() -> None:
    wide = TableSignature(tuple(Column(f"column {i}" * 50, "numeric") for i in range(300)))

    with pytest.raises(RequestError) as refusal:
        read_rows(b'{"inputs": 1}', JSON, model=ModelInfo("job", "version", ("a", "b"), wide), max_rows=4)

    assert "and 295 more, see /v1/metadata" in str(refusal.value.expected)
    assert len(json.dumps(refusal.value.body())) < 800


def test_a_picture_gets_415_and_the_type_that_is_read() -> None:
    with pytest.raises(RequestError, match="cannot read image/png") as refusal:
        check_content_type("image/png", None, model=MODEL)

    assert (refusal.value.status, refusal.value.expected) == (415, JSON)


def test_the_example_is_a_valid_row() -> None:
    assert len(table({"inputs": [example(PEOPLE)]})) == 1


def test_rows_of_several_requests_share_a_call_and_keep_their_values() -> None:
    calls: list[Rows] = []

    async def predict(rows: Rows, members: bool) -> Scores:
        calls.append(rows)
        return Scores(np.asarray(rows[:, :1], dtype=float), {})

    async def run() -> list[Scores]:
        batcher = Batcher(max_rows=4, wait_s=0.01, max_queued_rows=100)
        bodies = [{"inputs": [ONE | {"age": age, "job": None} for age in ages]} for ages in ((1, 2), (3,))]
        return await asyncio.gather(*(batcher.submit(read(body), call=predict) for body in bodies))

    scores = asyncio.run(run())

    assert [each.proba.ravel().tolist() for each in scores] == [[1, 2], [3]]
    (rows,) = calls
    assert rows.tolist() == [[1, True, None], [2, True, None], [3, True, None]]
