"""The leaderboard of a run as a typed record, with the reader and the writer of `leaderboard.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from quorate.json_text import json_text
from quorate.runs.errors import LaterVersionError, RunError

VERSION = 1
"""Version of the file. A file without a version has version 1."""

Metric = Literal["accuracy", "nll", "ece", "brier"]
SplitName = Literal["oof", "train_dev", "test"]
"""Sets of rows with scores: training rows with out-of-fold predictions, rows set aside by `validation.train_dev`, and
test rows."""
MemberStatus = Literal["ok", "failed", "failed: memory", "diverged", "out of time", "stopped early", "half batch"]


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FiniteOrNone = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A number. NaN and infinities, which JSON lacks, become None."""


class _BoardPart(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class SplitScores(_BoardPart):
    """The standard metrics on one set of rows, rounded to six digits; None for a value that is not finite."""

    accuracy: FiniteOrNone
    """Fraction of correctly classified rows, from 0 to 1."""
    nll: FiniteOrNone
    """Log-loss in nats."""
    ece: FiniteOrNone
    """Expected calibration error, from 0 to 1."""
    brier: FiniteOrNone
    """Multiclass Brier score, from 0 to 2."""

    def metric(self, name: Metric) -> float | None:
        """One metric by its name."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[Metric, float | None]:
        """All four metrics by their names."""
        return {"accuracy": self.accuracy, "nll": self.nll, "ece": self.ece, "brier": self.brier}


class TrainDevScores(SplitScores):
    """The metrics of the ensemble on the rows of `validation.train_dev`."""

    rows: int
    """Number of these rows."""


class TaskCounts(_BoardPart):
    """Numbers of fit tasks, without refits on all rows."""

    total: int
    trained: int
    reused: int
    failed: int


class BestSingleMember(_BoardPart):
    """The member with the lowest cross-fitted log-loss, compared with the ensemble."""

    name: str | None = None
    """None in files of earlier versions."""
    oof_nll: float | None
    """Its cross-fitted log-loss in nats."""
    gain: float | None = None
    """Its log-loss minus that of the ensemble, in nats; None if unknown."""
    error: float | None = None
    """Standard error of `gain`; None if unknown."""


class CombinerCandidate(_BoardPart):
    """One of the candidates that a combiner chose from."""

    name: str
    loss: FiniteOrNone
    """Cross-fitted loss, by the objective of the combiner; None if it is not finite."""
    error: float | None = None
    """Standard error of the difference to the best candidate; None if unknown."""
    chosen: bool

    @property
    def rank(self) -> float:
        """The loss for sorting; infinite if it is not finite."""
        return self.loss if self.loss is not None else math.inf


class LeaderboardEnsemble(_BoardPart):
    """The ensemble of a run. Its out-of-fold scores are cross-fitted."""

    combiner: str
    """The kind of combiner; `best_single` if a single member replaced the combination."""
    temperature: float | None
    """Temperature after pooling; None with another calibration."""
    oof: SplitScores | None
    test: SplitScores | None
    """None without test rows, and if a weighted member has no test predictions."""
    best_single: BestSingleMember | None = None
    note: str | None = None
    """Why a single member replaced the combination; None if it did not."""
    candidates: tuple[CombinerCandidate, ...] = ()
    """Candidates that the combiner chose from; empty if it had no choice."""
    production: str | None = None
    """How the models in the bundle differ from all fold models; None if they do not."""
    train_dev: TrainDevScores | None = None
    """None without `validation.train_dev`."""

    @property
    def chosen(self) -> str | None:
        """The name of the candidate that the combiner chose; None if it had no choice."""
        return next((each.name for each in self.candidates if each.chosen), None)


class LeaderboardMember(_BoardPart):
    """One member of a run. Its scores are before temperature and weight."""

    name: str
    """Label of the member, such as `cnn.2`."""
    kind: str
    status: MemberStatus
    folds: int | None = None
    """Number of finished folds; None in files of earlier versions."""
    of_folds: int | None = None
    weight: float
    temperature: float | None
    """None with another calibration."""
    fit_seconds: float
    """Training time of all folds in seconds."""
    predict_ms: float | None = None
    """Milliseconds per row to predict in batches with all fold models in sequence, on the machines that fitted them;
    None if not measured."""
    oof: SplitScores | None
    """Scores on the rows that the member covers and that count; None if there are none."""
    test: SplitScores | None
    """None without test predictions."""
    train_dev: SplitScores | None = None
    """None without `validation.train_dev`, and for members without weight."""


LeaderboardRow = LeaderboardMember | LeaderboardEnsemble


class LateTask(_BoardPart):
    """A fit task without a result, for lack of time."""

    member: str
    fold: int
    """Counted from 1."""
    begun: bool
    """Whether it was started and then stopped; otherwise it was never started."""
    reason: str


class StoppedTask(_BoardPart):
    """A fit task that was stopped before its last epoch; its result is used in the ensemble."""

    member: str
    fold: int
    """Counted from 1."""
    epochs_done: int
    epochs: int | None
    """Number of epochs in the job; None if the kind of member has no epochs."""
    best_epoch: int | None
    """Counted from 1; None if no epoch used labels."""


class UncountedMember(_BoardPart):
    """A member that is not in the ensemble for lack of time."""

    member: str
    reason: str


class QuorumShortfall(_BoardPart):
    """The ensemble has fewer members than the quorum, only for lack of time."""

    members: int
    needed: int


class LeaderboardBudget(_BoardPart):
    """The tasks and final steps that a job stopped or skipped because of its budget."""

    seconds: float
    """The budget."""
    used_seconds: float
    rows: int
    """Number of rows on which the members were combined."""
    of_rows: int
    folds: int | None = None
    """Number of folds on whose rows the members were combined; None in files of earlier versions."""
    of_folds: int | None = None
    below_quorum: QuorumShortfall | None = None
    """None if the quorum was reached."""
    out_of_time: tuple[LateTask, ...]
    stopped_early: tuple[StoppedTask, ...]
    not_counted: tuple[UncountedMember, ...]
    untested: tuple[str, ...] = ()
    """Members without predictions of the test rows."""
    left_out: tuple[str, ...] = ()
    """Final steps that were skipped for lack of time: `train_dev`, `pictures`, `report.html`."""


class TriedMember(_BoardPart):
    """A member that a growing job has tried."""

    name: str
    """Its label, such as `cnn.2`."""
    source: str
    """`copy`, or the source of the portfolio's entry."""
    loss: FiniteOrNone
    """Cross-fitted loss of the ensemble with it, by the objective of the combiner; None if it was not trained."""
    added: bool
    note: str = ""
    """Why there is no loss; empty if there is one."""


class LeaderboardGrowth(_BoardPart):
    """What a job with `grow` has tried after its own members were finished."""

    loss: FiniteOrNone
    """Cross-fitted loss of the ensemble of the job's own members."""
    tried: tuple[TriedMember, ...]
    """In their order."""
    ended: str
    """Why the job has not tried more."""


class UnlearnableRows(_BoardPart):
    """The validation rows of a class that do not count, because their fold has no training rows of this class."""

    class_name: str = Field(alias="class")
    rows: int
    """Number of rows that do not count."""
    folds: tuple[int, ...]
    """Folds of these rows, counted from 1."""
    note: str


class Leaderboard(_BoardPart):
    """The result of a finished run: its ensemble, its members and its fit tasks.

    A field that is missing from a file keeps its default and is not written again, so that a file of an earlier version
    is printed unchanged.
    """

    job: str
    """Name of the job."""
    tasks: TaskCounts
    ensemble: LeaderboardEnsemble
    members: tuple[LeaderboardMember, ...]
    """In the order of the plan."""
    unlearnable: tuple[UnlearnableRows, ...] = ()
    oof_sha256: str
    """SHA-256 of the out-of-fold probabilities of all members, by name."""
    run: str
    """Name of the run folder."""
    seconds: float
    """Duration of the job."""
    budget: LeaderboardBudget | None = None
    """None without a budget."""
    growth: LeaderboardGrowth | None = None
    """None if the job could not grow."""

    @property
    def ranked(self) -> list[LeaderboardMember]:
        """The members by out-of-fold log-loss, those without scores last."""
        return sorted(self.members, key=lambda row: loss_of(row.oof))

    def with_budget(self, budget: LeaderboardBudget) -> Self:
        """The leaderboard with the results of a budget."""
        return self.model_copy(update={"budget": budget})

    def with_growth(self, growth: LeaderboardGrowth) -> Self:
        """The leaderboard with what the job has tried to add."""
        return self.model_copy(update={"growth": growth})

    def with_closing(self, *, used_seconds: float, left_out: tuple[str, ...]) -> Self:
        """The leaderboard with the time used so far, and the final steps that were skipped for lack of time."""
        assert self.budget is not None
        return self.with_budget(self.budget.model_copy(update={"used_seconds": used_seconds, "left_out": left_out}))

    def with_train_dev(self, ensemble: TrainDevScores, members: Mapping[str, SplitScores]) -> Self:
        """The leaderboard with scores on the rows of `validation.train_dev`; `members` maps names to scores."""
        rows = tuple(row.model_copy(update={"train_dev": members.get(row.name)}) for row in self.members)
        return self.model_copy(
            update={"ensemble": self.ensemble.model_copy(update={"train_dev": ensemble}), "members": rows}
        )

    def to_text(self) -> str:
        """The leaderboard as JSON: the content of `leaderboard.json`."""
        return json_text({"version": VERSION} | self.model_dump(by_alias=True, exclude_unset=True))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `leaderboard.json`.

        Raises `RunError` for a damaged file, and `LaterVersionError` for a file of a later version.
        """
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise _damaged(path) from None
        version = content.get("version", 1) if isinstance(content, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise _damaged(path)
        if version > VERSION:
            raise LaterVersionError(
                f"{path} has version {version}, but this Quorate reads versions up to {VERSION}; read it with the "
                "version of Quorate that wrote it, or a later one"
            )
        try:
            return cls.model_validate(content)
        except ValidationError:
            raise _damaged(path) from None


def loss_of(scores: SplitScores | None) -> float:
    """The log-loss of a row for sorting; infinite if it is unknown."""
    return scores.nll if scores is not None and scores.nll is not None else math.inf


def scores_on(row: LeaderboardRow, split: SplitName) -> SplitScores | None:
    """The scores of a member or of the ensemble on one set of rows; None if there are none."""
    return {"oof": row.oof, "train_dev": row.train_dev, "test": row.test}[split]


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged; start the job again; finished work is reused from the store")
