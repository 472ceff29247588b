"""Runs of `quorate tune` and `quorate train` that are kept: what has finished is not run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quorate.json_text import json_text
from quorate.runs.search_record import SearchRecord

ROOT = Path(__file__).parents[3]
PIPELINES = ROOT / "pipelines" / "search"
DATA = Path(os.environ.get("QUORATE_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Kept:
    """A folder with the results of runs, and with the store that they share."""

    folder: Path
    settings: tuple[str, ...] = ()
    """`KEY=VALUE` for every job, such as `data.limit=400`."""
    _always: tuple[str, ...] = field(default=("execution.executor=local", "tracking.enabled=false"), init=False)

    def search(self, name: str, job: Path, member: str, *settings: str) -> SearchRecord:
        """The record of a search, which also writes the job file `emitted(name)`."""
        file = self.folder / f"{name}.search.json"
        if not file.exists():
            answer = self._quorate("tune", job, member, "--emit", self.emitted(name), settings=settings)
            self._write(file, answer)
            print(name, file=sys.stderr, flush=True)
        return self.record(name)

    def record(self, name: str) -> SearchRecord:
        return SearchRecord.model_validate_json(self._read(f"{name}.search.json"))

    def emitted(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def train(self, name: str, job: Path, *settings: str) -> Mapping[str, Any]:
        """The leaderboard of a job; what the store has is not trained again."""
        file = self.folder / f"{name}.board.json"
        if not file.exists():
            self._write(file, self._quorate("train", job, settings=settings))
            print(name, file=sys.stderr, flush=True)
        return self.board(name)

    def board(self, name: str) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self._read(f"{name}.board.json"))
        return found

    def run_folder(self, name: str) -> Path:
        """The folder of the run of a job that was trained."""
        return self.folder / "runs" / str(self.board(name)["run"])

    def _read(self, name: str) -> bytes:
        file = self.folder / name
        if not file.exists():
            raise SystemExit(f"there is no {file}: run the command without --show, or choose other --seeds")
        return file.read_bytes()

    def _quorate(self, command: str, *arguments: str | Path, settings: tuple[str, ...]) -> Any:
        given = [part for one in (*self._always, *self.settings, *settings) for part in ("--set", one)]
        places = {"QUORATE_RUNS": f"{self.folder}/runs", "QUORATE_STORE": f"{self.folder}/store"}
        threads = {"OMP_NUM_THREADS": "1", "QUORATE_DATA": str(DATA)}
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "quorate", command, *map(str, arguments), "--json", "-q", *given],
            env={**os.environ, **places, **threads},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)

    @staticmethod
    def _write(file: Path, answer: Any) -> None:
        """Write a result under its final name only when it is complete."""
        half = file.with_suffix(".part")
        half.write_text(json_text(answer), encoding="utf-8")
        half.replace(file)
