"""Create, find and read run folders; each start of a job creates one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quorate.errors import naming
from quorate.runs.errors import RunError
from quorate.runs.job_record import JOB_FILE
from quorate.runs.leaderboard import Leaderboard
from quorate.spec import Job, JobSpec, record_of, spec_of_run

BOARD = "leaderboard.json"


class RunOrigin(Protocol):
    """The run in a bucket that a run folder is a copy of, or is sent to."""

    @property
    def address(self) -> str: ...

    def publish(self) -> None:
        """Send what is new in the folder."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one start of a job. It contains a leaderboard once the run is finished."""

    path: Path
    origin: RunOrigin | None = field(default=None, compare=False)
    """None for a run that is kept in this folder only."""

    @property
    def address(self) -> str:
        """What `--run` takes: the path, or the URL of a run in a bucket."""
        return str(self.path) if self.origin is None else self.origin.address

    def address_of(self, path: Path) -> str:
        """The same of a file or folder below this one; another path as it is."""
        below = self.origin is not None and path.is_relative_to(self.path)
        return f"{self.address}/{path.relative_to(self.path)}" if below else str(path)

    def publish(self) -> None:
        """Send what a command has written into the folder to the bucket that the run is kept in, if it is."""
        if self.origin is not None:
            self.origin.publish()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @classmethod
    def create(cls, runs: Path, job: Job, claim: Callable[[Path], RunOrigin | None] | None = None) -> RunFolder:
        """Create the folder `NAME-DATE-TIME` and write the job to it.

        `claim` takes the name of the folder in a bucket, and returns None if another run there has it.
        """
        stem = f"{job.spec.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        for number in range(1000):
            path = runs / (stem if number == 0 else f"{stem}-{number + 1}")
            try:
                (path / "logs").mkdir(parents=True)
            except FileExistsError:
                continue
            origin = claim(path) if claim is not None else None
            if claim is not None and origin is None:
                shutil.rmtree(path)
                continue
            folder = cls(path, origin)
            folder.write(JOB_FILE, record_of(job.spec))
            return folder
        raise AssertionError("a thousand runs of one name in one second")

    @classmethod
    def find(cls, run: str | None, runs: Path) -> RunFolder:
        """Find a finished run by its path or name; by default the newest. Raises `RunError`."""
        if run is None:
            finished = sorted(runs.glob(f"*/{BOARD}"), key=lambda path: path.stat().st_mtime)
            if not finished:
                raise RunError(
                    f"there is no finished run in {runs.absolute()}; run `quorate train JOB.yaml`, or give --run"
                )
            return cls(finished[-1].parent)
        if not run:
            raise RunError("--run is empty; name a run (`quorate runs` lists them), or leave it out for the newest")
        for path in (Path(run), runs / run):
            if (path / BOARD).is_file():
                return cls(path)
            if (path / JOB_FILE).is_file():
                raise RunError(f"the run {run} has no {BOARD}: it did not finish; start its job again")
        raise no_run(run, str(runs.absolute()))

    @classmethod
    def journalled(cls, run: str | None, runs: Path) -> RunFolder:
        """Find a run with a journal by its path or name, finished or not; by default the newest. Raises `RunError`."""
        if run is None:
            started = sorted(runs.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
            if not started:
                raise RunError(f"there is no run in {runs.absolute()}; give the name of a run")
            return cls(started[-1].parent)
        for path in (Path(run), runs / run):
            if (path / "journal.jsonl").is_file():
                return cls(path)
        raise no_run(run, str(runs.absolute()))

    def board(self) -> Leaderboard:
        """The leaderboard of a finished job; raises `RunError` if it is damaged."""
        return Leaderboard.read(self.path / BOARD)

    def spec(self) -> JobSpec:
        """The job of the run, even if its data no longer exist; raises `RunError` if it cannot be read."""
        path = self.path / JOB_FILE
        try:
            return spec_of_run(path)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} cannot be read as a job; if the job uses your own code, make that importable here, or start "
                f"the job again ({error})"
            ) from None

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays in a file of a finished run, such as `oof.npz`; raises `RunError` if it is missing or damaged."""
        path = self.path / name
        try:
            with np.load(path, allow_pickle=False) as saved:
                return dict(saved)
        except FileNotFoundError:
            raise RunError(
                f"the run {self.name} has no {name}, which holds its out-of-fold predictions; start its job again; "
                "finished work is reused from the store"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}; start the job again") from None

    def arrays_if_any(self, name: str) -> dict[str, NDArray[Any]] | None:
        """As `arrays`; None if the run has no such file."""
        return self.arrays(name) if (self.path / name).is_file() else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        path, partial = self.path / name, self.path / f".{name}.partial"
        try:
            with naming(path):
                partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def tested_members(saved: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The members (M,) that have predicted the test rows, from the arrays of `test.npz`."""
    tested: NDArray[np.bool_] = saved.get(
        "tested", np.ones(len(saved["proba"]), bool)
    )  # missing in runs of older versions
    return tested


def no_run(run: str, place: str) -> RunError:
    """The error for a run that is neither a folder nor in a place of runs."""
    if run.startswith("models:/"):
        return RunError(
            f"{run} is a model, which only predict, evaluate and serve accept; give the run that it came from"
        )
    return RunError(f"there is no run {run!r}, neither as a folder nor in {place}")
