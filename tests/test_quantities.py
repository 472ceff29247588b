"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from quorate.quantities import format_bytes, format_seconds, read_bytes, read_seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("10", 10), ("2GiB", 2 << 30), ("1.5M", 1_572_864), (" 3 KB ", 3072), ("1TiB", 1 << 40)]
)
def test_a_size_is_read(text: str, expected: int) -> None:
    assert read_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("30d", 2_592_000)])
def test_a_time_is_read(text: str, expected: float) -> None:
    assert read_seconds(text) == expected


@pytest.mark.parametrize("text", ["", "ten", "10 GiBs", "-1G", "1e3"])
def test_an_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="'2GiB'"):
        read_bytes(text)


@pytest.mark.parametrize("text", ["", "d", "30 days", "-1d"])
def test_an_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="'30d'"):
        read_seconds(text)


def test_sizes_and_times_are_formatted_in_the_largest_fitting_unit() -> None:
    assert [format_bytes(count) for count in (0, 1023, 1536, 3 << 30, 5 << 50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
        "5120.0 TiB",
    ]
    assert [format_seconds(s) for s in (0, 119, 120, 7199, 9000, 200_000)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2.5 h",
        "2 d",
    ]


@pytest.mark.parametrize("text", ["30", " 30 ", "1.5"])
def test_a_number_without_a_unit_is_refused(text):
    with pytest.raises(ValueError, match=rf"'{text}' has no unit; write '{text.strip()}s', '{text.strip()}m' or"):
        read_seconds(text)
