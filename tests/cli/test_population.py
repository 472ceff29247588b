"""`quorate tune` with population based training: heirs go on from the networks of others, and become members."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.conftest import InFolder

from quorate.runs.folder import RunFolder
from quorate.runs.search_record import SearchRecord

JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {
        "net": {
            "kind": "net",
            "arch": {"kind": "mlp", "hidden": [8]},
            "epochs": 6,
            "search": {
                "trials": 4,
                "scheduler": "pbt",
                "every": 2,
                "space": {"lr": "log_uniform(1e-3, 1)", "schedule": {"constant": None, "cosine": None}},
            },
        },
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def test_heirs_train_only_what_is_new_and_become_members(quorate_in: InFolder, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))

    code, _, err = quorate_in(tmp_path, "tune", "job.yaml", "net", columns=200)

    assert code == 0, err
    record = records(tmp_path)[0]
    heirs = [trial for trial in record.trials if trial.source.startswith("heir: ")]
    assert [trial.number for trial in heirs] == [5, 6]
    for heir in heirs:
        first = int(heir.source.split(" after ")[1].split()[0])
        logged = (tmp_path / "runs" / record.run / "logs" / f"{heir.name}.fold1.log").read_text()
        assert "from a checkpoint" in logged
        assert f"epoch {first + 1}:" in logged and f"epoch {first}:" not in logged
    complete = [trial for trial in record.trials if trial.state == "complete"]
    assert len(complete) == 4 and all(trial.epochs == 12 for trial in complete)

    code, _, err = quorate_in(tmp_path, "tune", "job.yaml", "net", columns=200)
    assert code == 0, err
    again = records(tmp_path)[1]
    assert [(one.name, one.state, one.loss, one.steps) for one in again.trials] == [
        (one.name, one.state, one.loss, one.steps) for one in record.trials
    ]
    assert not list((tmp_path / "runs" / again.run / "logs").glob("net*.log")), "nothing is trained again"

    heir = next(trial for trial in heirs if trial.state == "complete")
    members = {heir.name: heir.member}
    for folder, trained in ((tmp_path, 0), (tmp_path / "elsewhere", 2)):  # in an empty store, it is trained as a whole
        folder.mkdir(exist_ok=True)
        (folder / "heir.yaml").write_text(yaml.safe_dump({**JOB, "name": "heir", "members": members}))
        code, _, err = quorate_in(folder, "train", "heir.yaml")
        assert code == 0, err
        (board,) = (json.loads(path.read_text()) for path in (folder / "runs").glob("heir*/leaderboard.json"))
        assert board["tasks"]["trained"] == trained
        assert board["members"][0]["oof"]["nll"] == pytest.approx(heir.loss, abs=1e-6)


def records(folder: Path) -> list[SearchRecord]:
    found = sorted((folder / "runs").glob("small-tune*"))
    return [record for path in found if (record := SearchRecord.read(RunFolder(path))) is not None]
