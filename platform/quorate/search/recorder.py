"""Keep the record of a search in its run folder, and its trials on the screen and in the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rich.console import Console

from quorate.job.tracker import Tracker
from quorate.report.search import metric_of, progress_text, trial_line
from quorate.runs.folder import RunFolder
from quorate.runs.search_record import ChoiceRecord, ParameterRecord, SearchRecord, StepRecord, TrialRecord
from quorate.search.ladder import Step
from quorate.search.search import Search
from quorate.search.trial import Trial
from quorate.spec import Job
from quorate.spec.configuration import space_of, values_in
from quorate.spec.recipe import without_defaults
from quorate.spec.search import SearchSpec
from quorate.spec.space import Interval, Parameter, parameters_of

_WRITE_SECONDS = 1.0
"""Least seconds between two writes of the record while a search runs (an assumption)."""
_WRITE_SHARE = 0.02
"""Largest part of the time that these writes may take (an assumption): the record grows with the trials."""


@dataclass
class SearchRecorder:
    """Keeps the record of a search up to date."""

    job: Job
    member: str
    spec: SearchSpec
    steps: Sequence[Step]
    search: Search
    folder: RunFolder
    tracker: Tracker
    console: Console
    started: float
    folds: int
    choices: tuple[ChoiceRecord, ...] = ()
    _ends: dict[int, float] = field(default_factory=dict)
    _records: dict[int, TrialRecord] = field(default_factory=dict)
    _write_at: float = 0.0

    def ended(self, trial: Trial) -> None:
        """Note the end of a trial."""
        now = time.monotonic()
        self._ends[trial.number] = now - self.started
        record = self._records[trial.number] = self._trial(trial)
        if trial.fits:
            figures = {"folds": record.folds, "epochs": record.epochs, "fit_seconds": round(record.seconds, 3)}
            losses = (
                {f"oof_{self.spec.metric}": metric_of(self.spec.metric, trial.loss)} if trial.loss is not None else {}
            )
            status = {"complete": "ok", "stopped": "stopped early"}.get(trial.state, trial.state)
            self.tracker.trial_ended(trial.fits[0], status, {**figures, **losses})
        best = self.search.best
        self.console.print(
            trial_line(record, metric=self.spec.metric, best=best.loss if best is not None else None),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if now >= self._write_at:
            self.write()
            written = time.monotonic()
            self._write_at = written + max(_WRITE_SECONDS, (written - now) / _WRITE_SHARE)

    def status(self) -> str:
        """How far the search is, for the terminal."""
        best = self.search.best
        return progress_text(
            [trial.state for trial in self.search.trials],
            most=self.spec.trials,
            metric=self.spec.metric,
            best=best.loss if best is not None else None,
        )

    @cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        return parameters_of(space_of(self.job.spec.members[self.member]))

    def write(self) -> SearchRecord:
        record = SearchRecord(
            run=self.folder.name,
            job=self.job.spec.name,
            member=self.member,
            kind=self.job.spec.members[self.member].kind,
            settings=self.spec.model_dump(mode="json"),
            parameters=_recorded(self._parameters),
            metric=self.spec.metric,
            folds=self.folds,
            steps=tuple((step.folds, step.part) for step in self.steps),
            seconds=round(time.monotonic() - self.started, 2),
            ended=self.search.ended,
            trials=tuple(self._records.get(one.number) or self._trial(one) for one in self.search.trials),
            choices=self.choices,
        )
        record.write(self.folder)
        return record

    def _trial(self, trial: Trial) -> TrialRecord:
        parameters = self._parameters
        values = values_in(trial.params, parameters) if trial.params is not None else dict(trial.point or {})
        ends = [end for end in trial.ends.values() if end.valid is not None]
        ended = self._ends.get(trial.number)
        return TrialRecord(
            number=trial.number + 1,
            name=trial.name,
            source=trial.source,
            state=trial.state,
            values={one.path: values[one.name] for one in parameters if one.name in values},
            member=without_defaults(trial.params) if trial.params is not None else {},
            folds=len(ends),
            epochs=sum(end.epochs for end in ends),
            seconds=round(sum(end.seconds for end in ends), 3),
            reused=sum(end.reused for end in ends),
            ended=round(ended, 3) if ended is not None else None,
            loss=trial.loss,
            steps=tuple(
                StepRecord(
                    folds=step.folds,
                    part=step.part,
                    loss=one.loss,
                    fold_losses=tuple(one.by_fold[fold] for fold in sorted(one.by_fold)),
                )
                for step, one in zip(self.steps, trial.standings, strict=False)
            ),
            problem=trial.problem,
        )


def _recorded(parameters: Sequence[Parameter]) -> tuple[ParameterRecord, ...]:
    """The parameters with more than one value."""
    paths = {one.name: one.path for one in parameters}
    found = []
    for one in parameters:
        conditions = tuple((paths[name], kind) for name, kind in one.conditions)
        place = ParameterRecord(name=one.name, path=one.path, conditions=conditions)
        if isinstance(one.dimension, Interval):
            numbers = {name: getattr(one.dimension, name) for name in ("low", "high", "log", "whole")}
            found.append(place.model_copy(update=numbers))
        elif len(one.dimension.values) > 1:
            found.append(place.model_copy(update={"values": one.dimension.values}))
    return tuple(found)
