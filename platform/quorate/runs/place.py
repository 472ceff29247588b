"""The contract of a place that keeps runs, and the place that is a folder of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from quorate.bundle import MANIFEST
from quorate.runs import history
from quorate.runs.copy import Parts
from quorate.runs.folder import RunFolder
from quorate.runs.history import PastRun, past_runs, size_of
from quorate.spec import Job


class RunsPlace(Protocol):
    """Where the runs of jobs are kept: a folder, or a prefix of a bucket.

    Runs are read from a folder of this machine, whatever the place. Methods raise `RunError` for a run that does not
    exist, and `StoreUnavailable` if a bucket cannot be reached.
    """

    @property
    def address(self) -> str:
        """A path or URL; holds no credentials."""

    @property
    def work(self) -> Path:
        """The folder in which jobs of this machine write their runs."""

    def check(self) -> None:
        """Raise `UserError` or `StoreUnavailable` if runs cannot be kept here."""

    def create(self, job: Job) -> RunFolder:
        """Create the folder of a new run."""

    def kept(self, run: RunFolder, say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """A context for the job of a new run, at whose end the run is completely in this place."""

    def find(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        """A finished run by its name, by default the newest; with these `parts` of it, by default with all."""

    def bundle(self, run: str | None) -> Path:
        """The folder of the bundle of a finished run, or of a bundle without a run."""

    def journalled(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        """The same of a run with a journal, finished or not."""

    def past(self) -> list[PastRun]:
        """All runs, newest first."""

    def removable(self, run: str) -> RunFolder:
        """A run that has ended, and that `remove` may remove."""

    def size_of(self, run: RunFolder) -> int:
        """Bytes of all files of a run."""

    def remove(self, run: RunFolder) -> None: ...

    def sent(self) -> Path:
        """A folder with the `shipped.json` and the journal of each run."""


class FolderRuns:
    """Runs in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.work = folder

    @property
    def address(self) -> str:
        return str(self.work)

    def check(self) -> None:
        """Creating a run shows whether the folder can be written."""

    def create(self, job: Job) -> RunFolder:
        return RunFolder.create(self.work, job)

    def kept(self, run: RunFolder, say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def find(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        return RunFolder.find(run, self.work)

    def bundle(self, run: str | None) -> Path:
        if run is not None and (Path(run) / MANIFEST).is_file():
            return Path(run)
        return self.find(run).bundle

    def journalled(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        return RunFolder.journalled(run, self.work)

    def past(self) -> list[PastRun]:
        return past_runs(self.work)

    def removable(self, run: str) -> RunFolder:
        return history.removable(run, self.work)

    def size_of(self, run: RunFolder) -> int:
        return size_of(run.path)

    def remove(self, run: RunFolder) -> None:
        history.remove(run)

    def sent(self) -> Path:
        return self.work
