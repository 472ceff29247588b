"""Write the files of a finished run: bundle, predictions, leaderboard, plots and report."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from quorate.bundle import needs, read_manifest
from quorate.data.dataset import Dataset
from quorate.ensemble.assemble import Assembly
from quorate.job.budget import TRAIN_DEV, ClosingTime, budget_part, train_dev_seconds, with_closing
from quorate.job.bundle_files import member_sizes, pack_bundle
from quorate.job.ensemble import JobFailed
from quorate.job.leaderboard import make_board
from quorate.job.outcome import JobOutcome
from quorate.job.train_dev import score_train_dev
from quorate.job.training import Trainer
from quorate.plan.tasks import Plan
from quorate.report.leaderboard import as_text
from quorate.report.pictures import draw
from quorate.report.run_report import REPORT, RunInputs, seconds_needed, write_report_and_values
from quorate.results.oof import OofPredictions
from quorate.runs.folder import BOARD, RunFolder
from quorate.runs.leaderboard import Leaderboard
from quorate.store import Damaged


def finish(
    outcome: JobOutcome,
    folder: RunFolder,
    trainer: Trainer,
    closing: ClosingTime,
    console: Console,
    *,
    started: float,
    pictures: bool,
) -> Leaderboard:
    """Write the bundle and the leaderboard, and the plots and the report if there is time; return the leaderboard.

    The members are copied from the store; while it is away, the job waits for it.
    """
    spec, plan, work, production = outcome.job.spec, outcome.plan, outcome.work, outcome.production
    results, tracker = trainer.results, trainer.tracker
    board = make_board(outcome, run=folder.name, seconds=time.monotonic() - started)
    if closing.budget is not None:
        board = board.with_budget(budget_part(closing.budget, plan, work, outcome.there, outcome.gathered.tested))
    if outcome.growth is not None:
        board = board.with_growth(outcome.growth)
    try:
        pack = partial(pack_bundle, folder.path / "bundle", spec, plan, production, outcome.ensemble, board, results)
        bundle = trainer.outages.call(pack)
    except Damaged as damaged:
        raise JobFailed(
            f"a finished result in the store was damaged while the job ran: {damaged}; start the job again: it trains "
            "the fit tasks with damaged results again, and reuses the others"
        ) from damaged
    for need in needs(read_manifest(bundle)):
        console.print(need, style="yellow", markup=False, highlight=False, soft_wrap=True)
    train_dev = plan.context.train_dev
    if train_dev is not None and closing.has_time_for(TRAIN_DEV, train_dev_seconds(plan)):
        board = score_train_dev(board, bundle, train_dev, folder.path)
    write_results(folder, board, plan, outcome.gathered, outcome.ensemble.assembly, outcome.test)
    if pictures:
        tracker.pictures(closing.pictures(draw(folder, plan, work.fits)))
    reported = pictures and closing.has_time_for(REPORT, seconds_needed(outcome.ensemble.seconds))
    if closing.budget is not None:
        write_board(folder, board := with_closing(board, closing))
    tracker.finished(board, folder, bundle, trainer.outages.call(partial(member_sizes, production, results)))
    if reported:
        known = RunInputs.of(spec, plan.context.train, plan.context.test)
        path, values = write_report_and_values(folder, folder.path / REPORT, known, quick=closing.budget is not None)
        tracker.report(path)
        tracker.member_values(values, board)
    return board


def write_results(
    folder: RunFolder,
    board: Leaderboard,
    plan: Plan,
    gathered: OofPredictions,
    assembly: Assembly,
    test: NDArray[np.float64] | None,
) -> None:
    """Write `oof.npz`, `test.npz` and, last, the leaderboard, which marks the run as finished."""
    arrays = {
        "proba": gathered.proba,
        "mask": gathered.mask,
        "y": plan.context.train.y,
        "members": np.array(plan.labels),
        "ensemble": assembly.crossfit_proba,
        "learnable": gathered.learnable,
    }
    arrays |= _dependence(plan.context.train)
    folder.write("oof.npz", _packed(arrays))
    if gathered.test is not None and test is not None and (data := plan.context.test) is not None:
        arrays = {
            "proba": gathered.test,
            "tested": gathered.tested,
            "ensemble": test,
            "y": data.y,
            "fingerprint": np.array(data.fingerprint),
        }
        arrays |= _dependence(data)
        folder.write("test.npz", _packed(arrays))
    write_board(folder, board)


def write_board(folder: RunFolder, board: Leaderboard) -> None:
    """Write the leaderboard as text and, last, as JSON."""
    folder.write("leaderboard.txt", as_text(board).encode())
    folder.write(BOARD, board.to_text().encode())


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _dependence(data: Dataset) -> dict[str, NDArray[Any]]:
    """The groups and times of rows, if they have any."""
    return {name: values for name, values in (("groups", data.groups), ("time", data.time)) if values is not None}
