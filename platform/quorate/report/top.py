"""The screen of `quorate top`: the hosts of a job, its running tasks, its rates and the time left."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from quorate.quantities import format_seconds
from quorate.report.job_state import JobFigures


def picture(name: str, figures: JobFigures, now_ms: int, *, height: int = 40) -> RenderableType:
    """The screen of `quorate top`."""
    return Group(Text(_summary(name, figures), style="bold"), "", _hosts(figures), "", _tasks(figures, now_ms, height))


def _summary(name: str, figures: JobFigures) -> str:
    state = {None: "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}[figures.status]
    parts = [f"{name}: {state}", f"{figures.done} of {figures.total} fit tasks done"]
    parts[-1] += f" ({figures.reused} reused)" if figures.reused else ""
    parts += [f"{figures.failed} failed"] if figures.failed else []
    if figures.status is None:
        parts += [f"{len(figures.running)} running, {figures.waiting} waiting"]
        parts += [f"{figures.epochs_per_second:.2g} epochs/s"] if figures.epochs_per_second else []
        parts += [f"about {format_seconds(figures.seconds_left)} left"] if figures.seconds_left is not None else []
    parts += [f"{figures.retries} retried"] if figures.retries else []
    return "; ".join(parts)


def _hosts(figures: JobFigures) -> Table:
    table = Table("host", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("running", "ended", "failed or lost", "task time"):
        table.add_column(name, justify="right")
    for name, host in sorted(figures.hosts.items()):
        cells = (host.running, host.ended, host.problems, format_seconds(host.seconds))
        table.add_row(name, *map(str, cells), style="yellow" if host.problems else "")
    return table


def _tasks(figures: JobFigures, now_ms: int, height: int) -> Table:
    table = Table("task", "host", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("epoch", "loss", "time"):
        table.add_column(name, justify="right")
    room = max(height - len(figures.hosts) - 6, 3)
    for task in figures.running[:room]:
        epoch = f"{task.epoch}/{task.epochs}" if task.epochs else str(task.epoch or "")
        again = f", attempt {task.attempt}" if task.attempt > 1 else ""
        loss = "" if task.loss is None else f"{task.loss:.4f}"
        table.add_row(task.name + again, task.host, epoch, loss, format_seconds((now_ms - task.since_ms) / 1e3))
    if len(figures.running) > room:
        table.add_row(f"and {len(figures.running) - room} more", style="dim")
    return table
