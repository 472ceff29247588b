"""Runs what a plan still lacks and keeps it as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from quorate.execution.base import Checkpointed, Executor, Failed, Fitted, Policy, Predicted, Sources
from quorate.members.base import Proba
from quorate.mirror import Mirror
from quorate.plan import FitTask, Plan, PredictTask, Unit, predict_key
from quorate.report.progress import Watch
from quorate.results import Fit, Results
from quorate.runs import RunFolder
from quorate.spec import ExecutionSpec


@dataclass
class Work:
    """What is done of a plan, by the key of the fit task."""

    fits: dict[str, Fit] = field(default_factory=dict)
    tests: dict[str, Proba] = field(default_factory=dict)
    failures: dict[str, Failed] = field(default_factory=dict)

    def status(self, plan: Plan, label: str) -> str:
        """`ok`, or why the member is not whole."""
        failed = [self.failures[t.key].status for t in plan.of(label) if t.key in self.failures]
        return "diverged" if "diverged" in failed else "failed" if failed else "ok"


def find_finished(plan: Plan, results: Results, but: Mapping[str, Fit] | None = None) -> dict[str, Fit]:
    """What the store already has of this plan, `but` for what is known."""
    found = (results.find(task) for task in plan.tasks if task.key not in (but or {}))
    return {fit.task.key: fit for fit in found if fit is not None}


def units_left(plan: Plan, work: Work, results: Results) -> list[Unit]:
    """What is still to be run; test predictions that the store has are taken from there."""
    units = [Unit((task,)) for task in plan.tasks if task.key not in work.fits]
    return units + [Unit((task,)) for task in _missing_predictions(plan, work, results)]


def train(
    units: Sequence[Unit],
    plan: Plan,
    work: Work,
    results: Results,
    executor: Executor,
    mirror: Mirror,
    folder: RunFolder,
    spec: ExecutionSpec,
    console: Console,
) -> None:
    """Run `units` and keep what they give as it comes."""
    policy = Policy(spec.retries, spec.lost_workers, spec.checkpoint_seconds, spec.workers)
    sources = Sources(results.checkpoint, lambda task: results.files(work.fits[task.key]))
    watch = Watch(console, total=len(plan.tasks), reused=len(work.fits))
    with watch.shown():
        for event in executor.run(units, context=plan.context, sources=sources, policy=policy):
            folder.log(event)
            if isinstance(event, Checkpointed):
                results.keep_checkpoint(event)
                continue
            if isinstance(event, Fitted):
                _keep(event, plan, work, results)
            elif isinstance(event, Predicted):
                work.tests[event.task.fit.key] = event.proba
                results.keep_predicted(event)
            elif isinstance(event, Failed) and event.final:
                fit = event.task if isinstance(event.task, FitTask) else event.task.fit
                work.failures[fit.key] = event
                work.fits.pop(fit.key, None)
                if event.status == "diverged":
                    results.drop_checkpoint(fit)  # its state is of no use to anybody
            mirror.on(event)
            watch.on(event)


def _keep(event: Fitted, plan: Plan, work: Work, results: Results) -> None:
    work.fits[event.task.key] = results.keep(event)
    work.failures.pop(event.task.key, None)
    results.drop_checkpoint(event.task)
    if event.test is not None and plan.context.test is not None:
        work.tests[event.task.key] = event.test
        results.keep_prediction(predict_key(event.task.key, plan.context.test), event.test)


def _missing_predictions(plan: Plan, work: Work, results: Results) -> Iterator[PredictTask]:
    """Take the stored test predictions of reused fits; give tasks for those that are not there."""
    if plan.context.test is None:
        return
    for key, fit in work.fits.items():
        task = PredictTask(predict_key(key, plan.context.test), fit.task)
        proba = results.prediction(task)
        if proba is None:
            yield task
        else:
            work.tests[key] = proba
