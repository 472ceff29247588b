"""One value has one text, whatever file, frame or request it comes from."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from quorate.data.plain_text import are_names, distinct_texts, plain_text


@pytest.mark.parametrize(
    ("spellings", "text"),
    [
        ([1, 1.0, "1", "1.0", "1.00", " 1\t", "\xa01", np.int8(1), np.float32(1), Decimal("1.0"), b"1"], "1"),
        ([True, np.True_, "true", "TRUE", "True "], "True"),
        ([False, "false", b"FALSE"], "False"),
        ([0, -0.0, "-0.0"], "0"),
        ([0.1, "0.1", np.float64(0.1), np.float32(0.1)], "0.1"),
        ([1e20, 10**20], "100000000000000000000"),
        ([Decimal("1.10"), 1.1], "1.1"),
        (["New York", "New\xa0York", "\ufeffNew York", "New\u202fYork "], "New York"),
        (["caf\u00e9", "cafe\u0301"], "caf\u00e9"),
    ],
    ids=str,
)
def test_all_spellings_of_a_value_become_the_same_text(spellings, text):
    assert {plain_text(value) for value in spellings} == {text}


def test_different_values_that_look_similar_stay_different():
    apart = ["01", "01.0", "1", "1.1", "1.10", "1.0.0", "yes", "Yes", "1e0", "x y", "x  y"]

    assert [plain_text(text) for text in apart] == apart


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, {1}, np.array([1]), b"\xff"], ids=repr)
def test_containers_and_undecodable_bytes_have_no_text(value):
    with pytest.raises(ValueError, match="holds "):
        plain_text(value)


def test_the_text_of_a_row_does_not_depend_on_the_other_rows():
    """pandas treats 1, 1.0 and True as the same key, so the first of them would replace the others."""
    for values in ([True, 1, "1.0", None], [1, True, "1.0", None], [1.0, True, 1, None]):
        codes, texts = distinct_texts(pd.Series(values, dtype=object))

        found = [texts[code] if code >= 0 else None for code in codes]
        assert found == [None if value is None else plain_text(value) for value in values]


@pytest.mark.parametrize("other", ["1.0.3", "01", "01.0", "1.10", "beta", "2a", b"v2"])
def test_whole_numbers_are_names_where_both_spellings_and_a_text_that_is_no_number_occur(other):
    values = pd.Series(["1", "1.0", "1.00", 2.0, None, other], dtype=object)

    assert are_names(values)
    codes, texts = distinct_texts(values, as_written=True)
    other = other.decode() if isinstance(other, bytes) else other
    assert [texts[code] if code >= 0 else None for code in codes] == ["1", "1.0", "1.00", "2", None, other]


@pytest.mark.parametrize(
    "values",
    [
        ["1", "1.0", "2.5", "-3", "1e6", "TRUE"],  # numbers and truth values alone
        ["1.0", "2.0", "beta", "01"],  # one spelling of each number
        [1, 1.0, "beta"],  # numbers have no spelling
        ["2", 2.0, "beta"],
        ["true", "TRUE", "beta"],
        [1.0, 2.5, None],
        [None, None],
    ],
    ids=str,
)
def test_whole_numbers_are_numbers_in_other_columns(values):
    assert not are_names(pd.Series(values))
    assert not are_names(pd.Series(values).astype("category"))
