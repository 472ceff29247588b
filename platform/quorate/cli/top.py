"""`quorate top`: watch a job that runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, RunsOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.console import RenderableType


def top(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The run: a name, path or URL. Default: the newest.", show_default=False),
    ] = None,
    runs_at: RunsOption = None,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the hosts, the running tasks, the rates and the time left of a job, until it ends.

    It reads the journal of the run, so it works from every machine that reaches the run, and does not disturb the job.
    """
    from quorate.report.job_state import JobState
    from quorate.report.top import picture
    from quorate.runs.copy import JUST_JOURNAL
    from quorate.runs.journal_reader import JournalReader
    from quorate.runs.lookup import find_journal

    folder = find_journal(run, JUST_JOURNAL)
    reader, state, console = JournalReader(folder.address), JobState(), make_console()

    def look() -> RenderableType:
        for record in reader.new_records():
            state.on(record)
        now = _now_ms()
        return picture(folder.path.name, state.figures(now), now, height=console.height)

    seen = look()
    if json:
        typer.echo(json_text(asdict(state.figures(_now_ms()))))
        return
    if once:
        console.print(seen)
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(look(), refresh=True)
            if state.status is not None:
                return
            time.sleep(every)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
