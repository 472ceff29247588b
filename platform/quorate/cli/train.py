"""`quorate train`: run a job, or show its plan."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quorate.cli.places import JsonOption, runs_folder, store_uri

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.spec import Job


def train(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. members.cnn.epochs=3; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end.")] = False,
    executor: Annotated[
        str | None, typer.Option(metavar="ray|local", help="Where fit tasks run; as the job file says when left out.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; a local Ray when left out.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URI", help="Where finished work is kept [default: .quorate/store].")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the job's seed.")] = None,
    json: JsonOption = False,
) -> None:
    """Train an ensemble; finished fit tasks are reused, interrupted ones go on."""
    from rich.console import Console

    from quorate.interrupt import Interrupted, StopRequest

    console = Console(stderr=json)
    stop = StopRequest()
    stop.install()
    try:
        job = _load(job_file, override or [], executor, seed)
        if dry_run:
            _show_plan(job, store or store_uri(), console, as_json=json)
            return
        _run(job, store or store_uri(), address, console, stop, as_json=json)
    except Interrupted as interrupted:
        console.print(
            f"interrupted ({interrupted}); finished tasks and checkpoints are kept, the same command goes on",
            highlight=False,
        )
        console.file.flush()
        sys.exit(128 + interrupted.signum)


def _load(job_file: Path, overrides: list[str], executor: str | None, seed: int | None) -> Job:
    from quorate.spec import load_job

    more = [f"execution.executor={executor}"] if executor is not None else []
    more += [f"seed={seed}"] if seed is not None else []
    return load_job(job_file, [*overrides, *more])


def _run(job: Job, store: str, address: str | None, console: Console, stop: object, *, as_json: bool) -> None:
    from quorate.interrupt import StopRequest
    from quorate.job import JobFailed, Options, run_job
    from quorate.report.leaderboard import as_table
    from quorate.store import open_store

    assert isinstance(stop, StopRequest)
    executor: Literal["ray", "local"] = job.spec.execution.executor
    options = Options(open_store(store), runs_folder(), executor, address)
    try:
        board = run_job(job, options, console=console, stop=stop)
    except JobFailed as failure:
        console.print(f"the job failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json_format.dumps(board, indent=1))
        return
    console.print(as_table(board, width=console.width))
    tasks = board["tasks"]
    console.print(
        f"{board['seconds']:.0f} s; fit tasks: {tasks['trained']} trained, {tasks['reused']} reused, "
        f"{tasks['failed']} failed\n",
        highlight=False,
    )
    run = runs_folder() / board["run"]
    for command in (f"quorate predict IMAGES --run {run}", f"quorate serve --run {run}", "quorate ui"):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def _show_plan(job: Job, store: str, console: Console, *, as_json: bool) -> None:
    from rich.table import Table

    from quorate.execution.choose import Workplace
    from quorate.fitting import find_finished
    from quorate.job import open_data, plan_job
    from quorate.results import Results
    from quorate.store import open_store

    context = open_data(job, console)
    plan = plan_job(job, context, Workplace("local", None, lambda executor: None))
    done = find_finished(plan, Results(open_store(store)))
    tasks = [
        {
            "member": task.label,
            "kind": task.kind,
            "fold": task.fold + 1,
            "seed": task.seed,
            "key": task.key,
            "numerics": task.numerics.to_json(),
            "resources": str(task.resources),
            "estimated_seconds": round(task.cost, 1),
            "finished": task.key in done,
        }
        for task in plan.tasks
    ]
    if as_json:
        typer.echo(
            json_format.dumps({"job": job.spec.name, "validation": context.folds.reason, "tasks": tasks}, indent=1)
        )
        return
    table = Table("member", "kind", "fold", "precision", "threads", "resources", "estimated s", "state", pad_edge=False)
    for shown, task in zip(tasks, plan.tasks, strict=True):
        numerics, state = task.numerics, "finished" if shown["finished"] else "to train"
        seconds = f"{task.cost:.1f}"
        table.add_row(
            task.label,
            task.kind,
            str(task.fold + 1),
            numerics.precision,
            str(numerics.threads),
            str(task.resources),
            seconds,
            state,
        )
    console.print(table)
    left = sum(task.cost for task in plan.tasks if task.key not in done)
    console.print(
        f"{context.folds.reason}; {len(tasks)} fit tasks, {len(done)} finished; about {left:.0f} core seconds to go"
    )
