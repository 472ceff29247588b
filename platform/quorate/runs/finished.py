"""Reopen a finished run together with its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quorate.bundle import BundleError, read_manifest
from quorate.ensemble.arrays import Floats, Mask, Proba
from quorate.errors import UserError
from quorate.plan.opening import open_data
from quorate.plan.tasks import JobData
from quorate.runs.folder import RunFolder, tested_members
from quorate.runs.leaderboard import Leaderboard
from quorate.spec import Job, load_job


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """The predictions of M members and of the ensemble for the n test rows, which have not changed since the run."""

    __test__ = False  # pytest: not a test class

    proba: Proba
    """(M, n, K), zero for members that are not `tested`."""
    ensemble: Floats
    """(n, K)"""
    tested: Mask
    """(M,): whether the member has predicted the test rows; a budget can leave this out."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run, its job and its rows. `proba` (M, N, K), `mask` (M, N) and `ensemble` (N, K) are out-of-fold predictions.

    `ensemble` is cross-fitted. It is NaN in rows that a member does not cover.
    """

    folder: RunFolder
    job: Job
    context: JobData
    board: Leaderboard
    members: tuple[str, ...]
    proba: Proba
    mask: Mask
    ensemble: Floats
    test: TestPredictions | None
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> Mask:
        """Which rows (N,) have out-of-fold probabilities of the ensemble."""
        known: Mask = np.logical_and.reduce(np.isfinite(self.ensemble), axis=1)
        return known


class ReopenError(UserError):
    """The job or the data of a run cannot be opened again, or the data have changed. `reason` is a short phrase."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def reopen_job(folder: RunFolder) -> tuple[Job, JobData]:
    """Open the job of a run and its data again; raises `ReopenError` if that is impossible or the data have changed."""
    try:
        job = load_job(folder.path / "job.json")
    except (UserError, OSError) as error:
        raise ReopenError(str(error), f"the job cannot be read again ({_first_line(error)})") from error
    try:
        context = open_data(job)
    except (UserError, OSError) as error:
        raise ReopenError(str(error), f"the data cannot be opened again ({_first_line(error)})") from error
    try:
        manifest = read_manifest(folder.bundle)
    except BundleError as error:
        raise ReopenError(str(error), f"the data cannot be compared with the run ({_first_line(error)})") from error
    train, changed = context.train, "the data have changed since the run"
    if train.class_names != manifest.class_names:
        raise ReopenError(
            f"the run {folder.name} was trained on the classes {_listed(manifest.class_names)}, and its data now "
            f"have {_listed(train.class_names)}; restore the data, or start the job again",
            changed,
        )
    if train.fingerprint != manifest.data.fingerprint:
        raise ReopenError(
            f"the data have changed since the run {folder.name} (it was trained on {manifest.data.rows:,} rows; "
            f"now there are {len(train):,} rows, or different ones), so its out-of-fold predictions do not belong to "
            "these rows; restore the data, or start the job again",
            changed,
        )
    return job, context


def reopen(folder: RunFolder) -> FinishedRun:
    """Return the run with its data and predictions; raises `UserError` if the data have changed or a file is
    damaged."""
    board, saved = folder.board(), folder.arrays("oof.npz")
    job, context = reopen_job(folder)
    train = context.train
    if saved["ensemble"].shape != (len(train), train.n_classes) or not np.array_equal(saved["y"], train.y):
        raise UserError(f"{folder.path / 'oof.npz'} does not belong to the rows of this run; start the job again")
    test, notes = _test_answers(folder, context)
    names = tuple(map(str, saved["members"]))
    return FinishedRun(
        folder, job, context, board, names, saved["proba"], saved["mask"], saved["ensemble"], test, tuple(notes)
    )


def _test_answers(folder: RunFolder, context: JobData) -> tuple[TestPredictions | None, list[str]]:
    saved = folder.arrays_if_any("test.npz")
    if context.test is None or saved is None:
        return None, []
    known = saved.get("fingerprint", context.test.fingerprint)  # older runs have no fingerprint
    if str(known) != context.test.fingerprint or not np.array_equal(saved["y"], context.test.y):
        return None, ["the test rows have changed since the run, so nothing is compared on them"]
    return TestPredictions(saved["proba"], saved["ensemble"], tested_members(saved)), []


def _listed(names: Any) -> str:
    return ", ".join(list(names)[:10]) + (", …" if len(names) > 10 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
