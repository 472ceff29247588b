"""A search as a typed record, with the reader and the writer of `search.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from quorate.json_text import json_text
from quorate.runs.errors import LaterVersionError, RunError
from quorate.runs.folder import RunFolder
from quorate.runs.leaderboard import FiniteOrNone

NAME = "search.json"
SCHEMA = 1

TrialStatus = Literal["running", "complete", "stopped", "failed", "invalid", "out of time"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ParameterRecord(_Record):
    """One number or choice of the space: the numbers from `low` to `high`, or the `values` of a choice."""

    name: str
    """Unique in the space: the path, with the kinds that it belongs to, such as `schedule[step].every`."""
    path: str
    """Where the value goes in the member, such as `schedule.every`."""
    conditions: tuple[tuple[str, str], ...] = ()
    """The paths of parameters with a kind that it belongs to, and these kinds. It applies if every condition holds."""
    low: float | None = None
    high: float | None = None
    log: bool = False
    """Whether the logarithms of its numbers are searched."""
    whole: bool = False
    values: tuple[Any, ...] = ()

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial with these values, by their paths, has it."""
        return self.path in values and all(values.get(path) == kind for path, kind in self.conditions)

    def contains(self, value: Any) -> bool:
        if self.low is None or self.high is None:
            return value in self.values
        return isinstance(value, int | float) and self.low <= value <= self.high


class StepRecord(_Record):
    """What a trial had reached after a step."""

    folds: int
    part: float
    """The part of the epochs of these folds, from 0 to 1."""
    loss: FiniteOrNone
    fold_losses: tuple[FiniteOrNone, ...]


class TrialRecord(_Record):
    """One trial, in the order of the search."""

    number: int
    """Counted from 1."""
    name: str
    """The name of the member that the trial is."""
    source: str
    """`written` for the member as written, `portfolio: NAME` for an entry of the portfolio, the method, or `heir: NAME
    after EPOCHS epochs` for a trial that continues another one."""
    state: TrialStatus
    values: Mapping[str, Any]
    """The values of the parameters of the space that apply, by their paths."""
    member: Mapping[str, Any]
    """The member as in a job file."""
    folds: int = 0
    """Number of folds with predictions."""
    epochs: int = 0
    """Number of epochs that its fits contain, of all folds together."""
    seconds: float = 0.0
    """Seconds that its fits took, of all folds together."""
    reused: int = 0
    """Number of its fits that were in the store."""
    ended: FiniteOrNone = None
    """Seconds from the start of the search until the trial ended; None while it runs."""
    loss: FiniteOrNone = None
    """The loss after its last step."""
    steps: tuple[StepRecord, ...] = ()
    problem: str = ""


class ChoiceRecord(_Record):
    """Trials that were chosen, and what the choice is worth."""

    rule: str
    """How they were chosen: `best`, `greedy K` or `top K`."""
    trials: tuple[str, ...]
    """The names of the chosen trials."""
    weights: tuple[float, ...]
    loss: FiniteOrNone
    """The loss on the rows that decided about the choice."""
    honest_loss: FiniteOrNone
    """The loss on rows that did not: each part of the rows is predicted by a choice on the others."""
    honest_error: FiniteOrNone = None
    """Standard error of `honest_loss` over the rows; None for metrics that are no mean over rows."""

    @property
    def optimism(self) -> float | None:
        """By how much the choice makes the loss look lower than it is."""
        if self.loss is None or self.honest_loss is None:
            return None
        return self.honest_loss - self.loss


class SearchRecord(_Record):
    """A search and its trials."""

    schema_version: int = SCHEMA
    run: str
    """The name of the run folder."""
    job: str
    member: str
    kind: str
    """The kind of the member as written."""
    settings: Mapping[str, Any]
    """The `search` section, with all defaults."""
    parameters: tuple[ParameterRecord, ...]
    """The parameters that are searched."""
    metric: str
    folds: int
    """Number of folds of the job."""
    steps: tuple[tuple[int, float], ...]
    """The number of folds and the part of their epochs after each step."""
    seconds: float
    ended: str
    """Why there are no further trials; empty if the process has died."""
    trials: tuple[TrialRecord, ...]
    choices: tuple[ChoiceRecord, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the parameters; those of different kinds can share one."""
        return tuple(dict.fromkeys(one.path for one in self.parameters))

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the lowest loss. Of equal ones, the one that the search has chosen by its log-loss;
        while it runs, the first."""
        if (chosen := next((choice for choice in self.choices if choice.rule == "best"), None)) is not None:
            return self.trial(chosen.trials[0])
        complete = [one for one in self.trials if one.state == "complete" and one.loss is not None]
        return min(complete, key=lambda one: (one.loss, one.number), default=None)

    def trial(self, name: str) -> TrialRecord:
        return next(one for one in self.trials if one.name == name)

    def to_text(self) -> str:
        return json_text(self.model_dump(mode="json"))

    def write(self, folder: RunFolder) -> None:
        folder.write(NAME, self.to_text().encode())

    @classmethod
    def read(cls, folder: RunFolder) -> Self | None:
        """The search of a run; None if the run is none. Raises `RunError` if the record is damaged or too new."""
        path = folder.path / NAME
        if not path.is_file():
            return None
        try:
            found = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} is damaged: {error.errors(include_url=False)[0]['msg']}") from None
        if found.schema_version > SCHEMA:
            raise LaterVersionError(f"{path} was written by a later version of Quorate; read it with that version")
        return found
