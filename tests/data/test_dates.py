"""Dates in text are recognized by a list of formats, and read only if they are unambiguous."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from quorate.data.dates import DatesError, are_dates, date_seconds

RANDOM = np.random.default_rng(0)
MOMENTS = [
    datetime.datetime(2018, 1, 1) + datetime.timedelta(minutes=int(m)) for m in RANDOM.integers(0, 4_000_000, 60)
]
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y"),
    *("%d-%b-%y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%A, %B %d, %Y", "%d%b%Y", "%Y.%m.%d"),
    *("%Y-%m", "%b %Y", "%B %Y", "%m/%Y", "%b-%y"),
)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
WHOLE = (
    *("%Y-%m-%dT%H:%M:%S", "%Y%m%dT%H%M%S", "%Y-%m-%dT%H", "%m/%d/%Y %I:%M %p", "%d.%m.%Y %H:%M"),
    *("%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S", "%Y-%m-%d, %H:%M"),
)


@pytest.mark.parametrize("format", [*DAYS, *CLOCKS, *WHOLE])
def test_dates_are_recognized_and_parsed_as_by_python(format):
    texts = [moment.strftime(format) for moment in MOMENTS]

    assert are_dates(list(dict.fromkeys(texts)))
    expected = [datetime.datetime.strptime(text, format).replace(tzinfo=datetime.UTC) for text in texts]
    if format in CLOCKS:
        expected = [moment.replace(year=1970) for moment in expected]
    np.testing.assert_allclose(date_seconds(texts), [moment.timestamp() for moment in expected], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2024-01-02 10:00:00+02:00", 8),
        ("02.01.2024 10:00 +0200", 8),
        ("Jan 2, 2024 10:00 UTC", 10),
        ("2024-01-02T10:00:00Z", 10),
        ("Tue, 02 Jan 2024 10:00:00 -0130", 11.5),
    ],
)
def test_time_zones_are_respected(text, hours):
    day = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC).timestamp()

    np.testing.assert_array_equal(date_seconds([text]), [day + hours * 3600])


@pytest.mark.parametrize(
    "texts",
    [
        ["1", "2"],
        ["2024", "2023"],
        ["1.5", "2.25"],
        ["16:9", "4:3"],
        ["1.26.4", "3.11.10"],
        ["10-20", "20-30"],
        ["A/5 21171", "113803"],
        ["8GB", "16GB"],
        ["1/2", "3/4"],
        ["030-1234", "+49 30 12"],
        ["Monday", "Friday"],
        ["2024-01-02", "word"],
    ],
    ids=str,
)
def test_other_texts_with_digits_are_not_dates(texts):
    assert not are_dates(texts)


@pytest.mark.parametrize("texts", [["2024-Q1", "2023Q4"], ["1 days 02:03:04", "0 days"], ["31/12/2024", "1.2.2024"]])
def test_quarters_durations_and_mixed_formats_are_recognized(texts):
    assert are_dates(texts)


def test_a_column_with_a_single_typing_error_still_counts_as_dates():
    assert are_dates([f"2024-01-{day:02}" for day in range(1, 31)] + ["2024-13-45"])


def test_dates_whose_order_depends_on_how_they_are_read_are_refused():
    with pytest.raises(
        DatesError, match=r"'03/04/2024' can be read in more than one way \(month-day-year or day-month"
    ):
        date_seconds(["03/04/2024", "01/05/2024"])


def test_a_text_that_is_not_a_date_is_named():
    with pytest.raises(DatesError) as caught:
        date_seconds(["31.12.2024", "32.12.2024", "1.1.2025"])

    assert caught.value.text == "32.12.2024"
