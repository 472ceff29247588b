"""`quorate top`: watch a job that runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, RunsOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from quorate.report.job_state import JobState
    from quorate.tracking.records import Record


def top(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="The run: a name, path or URL; with --address, the id of a submitted job. Default: the newest.",
            show_default=False,
        ),
    ] = None,
    runs_at: RunsOption = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Watch a job that was submitted to the cluster with this dashboard."),
    ] = None,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the hosts, the running tasks, the rates and the time left of a job, until it ends.

    It reads the journal of the run, so it works from every machine that reaches the run, and does not disturb the job.
    """
    from quorate.report.job_state import JobState

    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        source = _run(run) if address is None else _submitted_job(address, run, Path(folder), follow=not (once or json))
        _watch(source, JobState(), every=every, once=once, as_json=json)


@dataclass(frozen=True)
class _Source:
    """Where the records of a job come from."""

    name: str
    new_records: Callable[[], Iterable[Record]]
    is_active: Callable[[], bool]
    """False if no more records come."""


def _run(run: str | None) -> _Source:
    from quorate.runs.copy import JUST_JOURNAL
    from quorate.runs.journal_reader import JournalReader
    from quorate.runs.lookup import find_journal

    folder = find_journal(run, JUST_JOURNAL)
    return _Source(folder.path.name, JournalReader(folder.address).new_records, lambda: True)


def _submitted_job(address: str, name: str | None, folder: Path, *, follow: bool) -> _Source:
    """The newest job if no name is given."""
    from quorate.errors import UserError
    from quorate.execution.ray.dashboard import address_of
    from quorate.execution.ray.job_server import JobServer

    server = JobServer(address_of(address))
    from quorate.job.submission import submitted_job, submitted_jobs
    from quorate.job.submitted_journal import SubmittedJournal
    from quorate.job.submitted_run import files_of_run, records_of_run, shared_run
    from quorate.runs.copy import JUST_JOURNAL

    if name is None:
        if not (jobs := submitted_jobs(server)):
            raise UserError(f"no job of Quorate was submitted to {server.address}")
        name = jobs[-1].id
    job, journal = submitted_job(server, name), SubmittedJournal(server, folder)
    if (run := shared_run(server, job)) is None:
        raise UserError(f"{name} has no run: its driver has not begun it ({job.state})")
    if not (follow and job.is_active and journal.has_begun(job)):
        files = files_of_run(server, job, run, JUST_JOURNAL)
        return _Source(name, lambda: records_of_run(files), lambda: False)
    return _Source(name, journal.new_records, lambda: submitted_job(server, name).is_active)


def _watch(source: _Source, state: JobState, *, every: float, once: bool, as_json: bool) -> None:
    from quorate.report.top import picture

    console = make_console()

    def look() -> RenderableType:
        for record in source.new_records():
            state.on(record)
        now = _now_ms()
        return picture(source.name, state.figures(now), now, height=console.height)

    if as_json:
        look()
        typer.echo(json_text(asdict(state.figures(_now_ms()))))
        return
    if once:
        console.print(look())
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        active = True
        while active and state.status is None:
            active = source.is_active()
            live.update(look(), refresh=True)
            if active and state.status is None:
                time.sleep(every)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
