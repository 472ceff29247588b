"""Keep runs below a prefix of a bucket: start, find, list and remove them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quorate.bundle import MANIFEST
from quorate.errors import UserError
from quorate.runs.copy import JUST_BUNDLE, Parts, RunCopy, copies_of
from quorate.runs.errors import RunError, RunNotSent
from quorate.runs.folder import BOARD, RunFolder, no_run
from quorate.runs.history import PastRun, past_run, state_of
from quorate.runs.job_record import JOB_FILE, JobRecord
from quorate.runs.upload import DRIVER, SEGMENTS, SILENT, RunUpload, sending
from quorate.spec import Job
from quorate.store import StoreRefused, StoreUnavailable
from quorate.store.bucket_files import BucketFile, BucketFiles
from quorate.tracking import position

_WORK = Path(".quorate/runs")
"""Where jobs write their runs, until these are in the bucket."""

_AT_ONCE = 8
"""Runs that are looked at at the same time, because a request takes tens of milliseconds: an assumption."""

Listed = Collection[BucketFile]


class BucketRuns:
    """Runs below a prefix of a bucket."""

    def __init__(self, files: BucketFiles) -> None:
        self._files = files

    @property
    def address(self) -> str:
        return self._files.address

    @property
    def work(self) -> Path:
        return _WORK

    def check(self) -> None:
        with _plainly():
            self._files.check()

    def create(self, job: Job) -> RunFolder:
        def claim(path: Path) -> RunUpload | None:
            upload = RunUpload(path, self._files)
            return upload if upload.claim() else None

        return RunFolder.create(_WORK, job, claim)

    @contextlib.contextmanager
    def kept(self, run: RunFolder, say: Callable[[str], None]) -> Iterator[None]:
        """Send the run while its job works and at its end; then the folder here is removed.

        Raises `RunNotSent` if a finished run cannot be sent; its folder stays.
        """
        upload, finished = run.origin, False
        assert isinstance(upload, RunUpload), "from `create`"
        try:
            with sending(upload, say):
                yield
                finished = True
        except (StoreUnavailable, RunError) as error:
            if not finished:
                raise
            raise RunNotSent(
                f"the job is finished, but its run cannot be sent: {error}. It is kept in {run.path}; to send it: "
                f"quorate sync {run.path}"
            ) from error
        finally:
            if upload.is_complete:
                remove_sent(run, say)

    def find(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        if run is not None:
            listed = self._of(run)
            if not _has(listed, run, BOARD):
                raise RunError(f"the run {run} has no {BOARD}: it is running or did not finish; start its job again")
            return self._fetched(run, listed, parts)
        found = {name: files for name, files in self._all().items() if _has(files, name, BOARD)}
        if not found:
            raise RunError(f"there is no finished run in {self.address}; run `quorate train JOB.yaml`, or give --run")
        newest = max(found, key=lambda name: _when(found[name], f"{name}/{BOARD}"))
        return self._fetched(newest, found[newest], parts)

    def bundle(self, run: str | None) -> Path:
        if run and _has(listed := self._listed(run), run, MANIFEST):
            return self._fetched(run, listed, None).path
        return self.find(run, JUST_BUNDLE).bundle

    def journalled(self, run: str | None, parts: Parts | None = None) -> RunFolder:
        if run is None:
            every = {name: files for name, files in self._all().items() if _has_journal(files, name)}
            if not every:
                raise RunError(f"there is no run in {self.address}; give the name of a run")
            run = max(every, key=lambda name: max(file.modified for file in every[name]))
            listed: Listed = every[run]
        else:
            listed = self._of(run)
            if not _has_journal(listed, run):
                raise RunError(f"the run {run} in {self.address} has no journal yet; try again when its job has begun")
        return self._fetched(run, listed, parts)

    def past(self) -> list[PastRun]:
        every = self._all()
        now = self._files.now() if any(_has(files, name, DRIVER) for name, files in every.items()) else 0.0
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            found = threads.map(lambda name: self._past(name, every[name], now), every)
        return sorted((run for run in found if run is not None), key=lambda run: run.started, reverse=True)

    def removable(self, run: str) -> RunFolder:
        listed = self._of(run)
        folder = self._fetched(run, listed, frozenset({JOB_FILE, BOARD, SEGMENTS, position.NAME}))
        JobRecord.read(folder.path / JOB_FILE)
        if state_of(folder, driven=self._is_driven(run, listed, self._files.now())) == "running":
            raise RunError(f"{run} is running; stop it first (Ctrl-C keeps its work)")
        return folder

    def size_of(self, run: RunFolder) -> int:
        return sum(file.size for file in self._of(run.name))

    def remove(self, run: RunFolder) -> None:
        """Remove the job file last, so that a removal that was interrupted can be repeated."""
        job = f"{run.name}/{JOB_FILE}"
        self._files.remove(file.name for file in self._of(run.name) if file.name != job)
        self._files.remove([job])
        shutil.rmtree(run.path)

    def sent(self) -> Path:
        """Fetches the newest run that was sent to a tracking server."""
        found = {name: files for name, files in self._all().items() if _has(files, name, position.NAME)}
        for newest in sorted(found, key=lambda name: _when(found[name], f"{name}/{position.NAME}"))[-1:]:
            self._fetched(newest, found[newest], frozenset({position.NAME, SEGMENTS}))
        return copies_of(self._files)

    def _past(self, name: str, listed: Listed, now: float) -> PastRun | None:
        parts = {JOB_FILE, BOARD} | (set() if _has(listed, name, BOARD) else {SEGMENTS})
        copy = RunCopy(self._files, name)
        with copy.held():
            copy.fetch(listed, frozenset(parts))
            run = RunFolder(copy.folder, copy)
            try:
                job = JobRecord.read(run.path / JOB_FILE)
            except RunError:  # Quorate did not write the file
                return None
            state = state_of(run, driven=self._is_driven(name, listed, now))
            return past_run(run, job, state, sum(file.size for file in listed))

    def _is_driven(self, name: str, listed: Listed, now: float) -> bool:
        return _has(listed, name, DRIVER) and now - _when(listed, f"{name}/{DRIVER}") < SILENT

    def _fetched(self, name: str, listed: Listed, parts: Parts | None) -> RunFolder:
        copy = RunCopy(self._files, name)
        copy.use(listed, parts)
        return RunFolder(copy.folder, copy)

    def _of(self, run: str) -> Listed:
        """The files of a run; raises `RunError` if there is none of this name."""
        if not run:
            raise RunError("--run is empty; name a run (`quorate runs` lists them), or leave it out for the newest")
        listed = self._listed(run) if "/" not in run else []
        if not _has(listed, run, JOB_FILE):
            raise no_run(run, self.address)
        return listed

    def _listed(self, folder: str = "") -> Listed:
        with _plainly():
            return self._files.files(folder)

    def _all(self) -> Mapping[str, Listed]:
        """The files of each run, by its name."""
        listed = self._listed()
        runs: dict[str, list[BucketFile]] = defaultdict(list)
        for file in listed:
            runs[file.name.partition("/")[0]].append(file)
        return {name: files for name, files in runs.items() if _has(files, name, JOB_FILE)}


def remove_sent(run: RunFolder, say: Callable[[str], None]) -> None:
    """Remove the working folder of a run that is completely in its bucket, unless its shipper still works."""
    lock = run.path / "shipper.lock"
    with contextlib.ExitStack() as held:
        if lock.is_file():
            file = held.enter_context(lock.open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(
                    f"{run.path} is kept, because its records are still being sent to MLflow; to remove it afterwards: "
                    f"quorate sync {run.path}"
                )
                return
        shutil.rmtree(run.path)


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Turn a refusal into an error that the user can fix."""
    try:
        yield
    except StoreRefused as error:
        raise UserError(f"--runs {error}") from None


def _has(listed: Listed, run: str, name: str) -> bool:
    return any(file.name == f"{run}/{name}" for file in listed)


def _has_journal(listed: Listed, run: str) -> bool:
    return any(file.name.startswith(f"{run}/{SEGMENTS}/") for file in listed)


def _when(listed: Listed, name: str) -> float:
    return next(file.modified for file in listed if file.name == name)
