"""The position of a journal at a server comes back from `shipped.json`, under the names that earlier versions read."""

from __future__ import annotations

import json
from pathlib import Path

from quorate.tracking.position import Position, Refusal, load, save

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
