"""Show the plan of a job: `quorate train --dry-run`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from quorate.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from rich.console import Console

    from quorate.job.features import FeatureSummary
    from quorate.plan.groups import NodeGroup
    from quorate.plan.tasks import FitTask, Plan
    from quorate.spec import Job
    from quorate.training.context import MemoryUse


def show_plan(job: Job, store: str, address: str | None, console: Console, *, as_json: bool) -> None:
    """Plan the job for the place where it would run, and print the plan."""
    from quorate.execution.interrupt import StopRequest
    from quorate.execution.workplace import Workplace
    from quorate.job.backbone_choice import planned_choice
    from quorate.job.features import summaries
    from quorate.job.fits import FitRunner
    from quorate.job.planning import plan_job
    from quorate.job.progress import JobProgress
    from quorate.plan.opening import open_data
    from quorate.plan.tasks import Resources
    from quorate.results.results import Results
    from quorate.spec.hub_policy import hub_asked
    from quorate.store import open_store

    def say(note: str) -> None:
        console.print(note, style="yellow", markup=False, highlight=False)

    if searched := [name for name, params in job.spec.members.items() if params.search is not None]:
        say(f"the plan has {', '.join(searched)} as written; quorate train searches better parameters first")
    executor, wait = job.spec.execution.executor, job.spec.execution.wait_for_nodes
    with (
        hub_asked(job.spec.execution.hub),
        Workplace(executor, address, lambda opened: None, urgent=True, wait_for_nodes=wait, say=say) as place,
    ):
        context = open_data(job, say, decoder=place)
        job = planned_choice(job, context, FitRunner(place, open_store(store), StopRequest(), say))
        plan = plan_job(job, context, place)  # a cluster's hardware determines the numerics, and so the task keys
        groups = place.groups_for(Resources(cpus=0), present=True)
    results = Results(open_store(store))
    work = JobProgress.found(plan, results)
    plan, done, features = work.corrected(plan), work.fits, summaries(plan, results.has_features)
    used = {key: fit.memory for key, fit in done.items() if fit.memory is not None}
    if as_json:
        typer.echo(json_text(_plan_json(job, plan, done.keys(), features, groups, used)))
    else:
        _print_plan(plan, done.keys(), features, groups, used, console)
        if can_grow(job):
            console.print(_growth_text(plan), markup=False, highlight=False, soft_wrap=True)


def _plan_json(
    job: Job,
    plan: Plan,
    done: Set[str],
    features: Sequence[FeatureSummary],
    groups: Sequence[NodeGroup],
    used: Mapping[str, MemoryUse],
) -> dict[str, Any]:
    """The plan as JSON; `done` are the keys of finished fit tasks, and `used` their memory."""
    from quorate.plan.groups import numbers_of

    tasks = [
        {
            "member": task.label,
            "kind": task.kind,
            "fold": task.fold + 1,
            "seed": task.seed,
            "key": task.key,
            "numerics": task.numerics.to_json(),
            "resources": str(task.resources),
            "groups": numbers_of(groups, task.hardware),
            "memory": {
                "estimated": _memory_json(task.estimate),
                "expected": _memory_json(task.expected),
                "used": _memory_json(used.get(task.key)),
            },
            "estimated_seconds": round(task.cost, 1),
            "finished": task.key in done,
        }
        for task in plan.tasks
    ]
    asked = [
        {
            "backbone": part.backbone.arch,
            "of": part.images,
            "rows": part.rows,
            "pieces": len(part.tasks),
            "finished_pieces": part.finished,
            "resources": str(part.tasks[0].resources),
            "estimated_seconds": round(sum(task.cost for task in part.tasks), 1),
        }
        for part in features
    ]
    said = {
        "job": job.spec.name,
        "validation": plan.context.folds.reason,
        "warnings": plan.context.warnings,
        "notes": list(plan.notes),
        "groups": [_group_json(group) for group in groups],
        "tasks": tasks,
    }
    return said | ({"features": asked} if asked else {}) | ({"grows": True} if can_grow(job) else {})


def can_grow(job: Job) -> bool:
    """Whether the job adds members until its budget is used."""
    return job.spec.grow and job.spec.execution.budget is not None


def _growth_text(plan: Plan) -> str:
    from quorate.plan.portfolio import portfolio

    train, rows = plan.context.train, len(plan.context.folds[0].train)
    count = len(portfolio(train.signature, rows))
    return (
        "within its budget, the job may add copies of these members and members of the portfolio (which has "
        f"{count} for these data)"
    )


def _memory_json(memory: MemoryUse | None) -> dict[str, int] | None:
    """Bytes of a node and of an accelerator."""
    return None if memory is None else {"node": memory.node, "accelerator": memory.accelerator}


def _memory_text(task: FitTask, used: MemoryUse | None) -> str:
    """The estimate, and what a finished task used, or is expected to use after others of its member have finished."""
    from quorate.quantities import format_bytes

    expected = task.measured if used is None else None
    figures = ((task.estimate, ""), (used, "used "), (expected, "expected "))
    known = [(memory.node + memory.accelerator, verb) for memory, verb in figures if memory]
    return ", ".join(f"{verb}{format_bytes(size)}" for size, verb in known)


def _groups_text(groups: Sequence[NodeGroup], task: FitTask) -> str:
    """The numbers of the groups that a task can run on; `any` for all of several groups."""
    from quorate.plan.groups import numbers_of

    numbers = numbers_of(groups, task.hardware)
    return "any" if len(numbers) == len(groups) > 1 else ", ".join(map(str, numbers))


def _group_json(group: NodeGroup) -> dict[str, Any]:
    about = group.hardware
    return {
        "nodes": [{"name": node.name, "labels": dict(node.labels)} for node in group.nodes],
        "cores": about.cores,
        "cpu": about.cpu,
        "fast_bfloat16": about.fast_bfloat16,
        "memory": about.memory,
        "memory_for_tasks": about.room,
        "accelerators": about.gpus,
        "accelerator": None if about.accelerator is None else asdict(about.accelerator),
    }


def _print_plan(
    plan: Plan,
    done: Set[str],
    features: Sequence[FeatureSummary],
    groups: Sequence[NodeGroup],
    used: Mapping[str, MemoryUse],
    console: Console,
) -> None:
    """Print the plan as a table; `done` are the keys of finished fit tasks, and `used` their memory."""
    from quorate.report.columns import TableColumn, fit

    for number, group in enumerate(groups, start=1):
        console.print(f"group {number}, {group}", markup=False, highlight=False, soft_wrap=True)
    for note in plan.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    about = [
        (
            part.backbone.arch,
            f"features of {part.rows:,} {part.images}",
            "",
            "float32",
            "1",
            str(part.tasks[0].resources),
            "any",
            "",
            f"{sum(task.cost for task in part.tasks):.1f}",
            "finished" if part.finished == len(part.tasks) else "to compute",
        )
        for part in features
    ]
    for task in plan.tasks:
        numerics = (task.numerics.precision, str(task.numerics.threads))
        state = "finished" if task.key in done else "to train"
        fold = str(task.fold + 1)
        place = (str(task.resources), _groups_text(groups, task), _memory_text(task, used.get(task.key)))
        about.append((task.label, task.kind, fold, *numerics, *place, f"{task.cost:.1f}", state))
    heads = ("member", "kind", "fold", "precision", "threads", "resources", "group", "memory", "est. s", "state")
    ranks = (0, 3, 0, 4, 6, 2, 5, 7, 1, 0)
    columns = [
        TableColumn(head, cells, rank, justify="right" if head in ("fold", "threads", "est. s") else "left")
        for head, rank, cells in zip(heads, ranks, zip(*about, strict=True), strict=True)
    ]
    console.print(fit(columns, width=console.width, pad_edge=False).table)
    left = sum(task.cost for task in plan.tasks if task.key not in done)
    if len(done) < len(plan.tasks):
        left += sum(part.seconds for part in features)
    counts = f"{len(plan.tasks)} fit tasks, {len(done)} finished"
    console.print(f"{plan.context.folds.reason}; {counts}; about {left:.0f} core seconds left")
