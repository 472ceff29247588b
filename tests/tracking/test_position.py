"""The position of a journal at a server comes back from `shipped.json`, under the names that earlier versions read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quorate.tracking.position import Position, Refusal, load, outage, save, save_outage

URI = "http://mlflow:5000"


def test_a_position_is_read_as_it_was_saved(tmp_path: Path) -> None:
    position = Position("7e11", 90, 3, "5", {"job": "a1"}, ["job"], [Refusal("job", "metric p@1", "bad name")])

    save(tmp_path, URI, position)

    assert load(tmp_path, URI, "7e11") == position
    (written,) = json.loads((tmp_path / "shipped.json").read_text())["destinations"].values()
    assert written["refused"] == [{"uid": "job", "what": "metric p@1", "reason": "bad name"}]


def test_a_position_of_another_journal_or_server_is_the_beginning(tmp_path: Path) -> None:
    save(tmp_path, URI, Position("7e11", 90, 3))

    assert load(tmp_path, URI, "0000") == Position("0000")
    assert load(tmp_path, "http://elsewhere:5000", "7e11") == Position("7e11")


def test_an_outage_lasts_until_records_are_sent_and_keeps_the_position(tmp_path: Path) -> None:
    save(tmp_path, URI, Position("7e11", 90, 3))
    assert outage(tmp_path, URI) == ""

    save_outage(tmp_path, "http://ada:secret@mlflow:5000", "ConnectionError: refused")
    assert outage(tmp_path, URI) == "ConnectionError: refused"
    assert load(tmp_path, URI, "7e11") == Position("7e11", 90, 3)
    assert "secret" not in (tmp_path / "shipped.json").read_text()

    save(tmp_path, URI, Position("7e11", 120, 4))
    assert outage(tmp_path, URI) == ""


SAVED = {
    "journal": "7e11",
    "offset": 90,
    "sent": 3,
    "experiment_id": "5",
    "runs": {"job": "a1"},
    "open": ["job"],
    "refused": [{"uid": "job", "what": "metric p@1", "reason": "bad name"}],
}


def destinations(**changes: object) -> dict[str, object]:
    return {"version": 1, "destinations": {URI: SAVED | changes}}


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        "x",
        {"version": 1},
        {"version": 2, "destinations": {URI: SAVED}},
        {"version": 1, "destinations": []},
        {"version": 1, "destinations": {URI: None}},
        {"version": 1, "destinations": {URI: {key: value for key, value in SAVED.items() if key != "refused"}}},
        destinations(mood="good"),
        destinations(refused=None),
        destinations(refused=[{"uid": "job"}]),
        destinations(refused=["metric"]),
        destinations(offset="far"),
        destinations(offset=-1),
        destinations(runs=[]),
        destinations(runs={"job": 1}),
        destinations(open=[1]),
        destinations(open="job"),
    ],
)
def test_a_damaged_position_is_the_beginning_and_can_be_replaced(content: object, tmp_path: Path) -> None:
    (tmp_path / "shipped.json").write_text(json.dumps(content))

    assert load(tmp_path, URI, "7e11") == Position("7e11")
    save(tmp_path, URI, Position("7e11", 90, 3))
    assert load(tmp_path, URI, "7e11") == Position("7e11", 90, 3)


def test_a_file_that_is_no_text_is_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "shipped.json").write_bytes(b"\xff\xfe{")

    assert load(tmp_path, URI, "7e11") == Position("7e11")


def test_a_sound_position_is_read_although_another_one_is_damaged(tmp_path: Path) -> None:
    file = {"version": 1, "destinations": {"http://elsewhere:5000": None, URI: SAVED}}
    (tmp_path / "shipped.json").write_text(json.dumps(file))

    found = load(tmp_path, URI, "7e11")

    assert found == Position("7e11", 90, 3, "5", {"job": "a1"}, ["job"], [Refusal("job", "metric p@1", "bad name")])
