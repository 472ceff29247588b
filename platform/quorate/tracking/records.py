"""The records of a journal, one frozen class per kind; `quorate.tracking.codec` reads and writes their lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

VERSION = 1
"""Version of the records. Increase it if an earlier Quorate would misread a journal, but not for an additional kind or
field, because readers ignore unknown kinds and fields."""

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended: one of MLflow's statuses."""
Context = Literal["training", "testing"]
"""What a run used a dataset for."""


@dataclass(frozen=True, slots=True)
class HeaderRecord:
    """The first record of a journal."""

    kind: ClassVar[str] = "header"
    version: int
    """The `VERSION` of the Quorate that began the journal."""
    run: str
    """The journal's own id, 32 hexadecimal digits."""
    experiment: str
    """The name of the MLflow experiment."""
    user: str
    """The user who started the job."""
    source: str
    """The program that wrote the journal, such as `quorate`."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The start of an MLflow run, or its continuation if an earlier record has the same `uid`."""

    kind: ClassVar[str] = "run"
    uid: str
    """The run's stable name in the journal: `job`, `ensemble`, `job/MEMBER` or `job/MEMBER/FOLD`."""
    name: str
    """The run's name in MLflow."""
    parent: str | None
    """The `uid` of the parent run; None for the job."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    start_ms: int
    """Start time in milliseconds since 1970."""

    @property
    def level(self) -> str:
        """`job`, `ensemble`, `member`, `fold` or `all rows`; empty if Quorate's tracker did not write the record."""
        return self.tags.get("quorate.level", "")

    @property
    def member(self) -> str | None:
        """The member's name in the job file; None for other runs than those of members and fit tasks, and if the
        record of a fit task lacks it."""
        if self.level == "member":
            # Earlier versions have one run for all copies of a member. The run has the member's name.
            return self.tags.get("quorate.recipe", self.name)
        return self.params.get("member")

    @property
    def member_kind(self) -> str:
        """The kind of the member, such as `net`; for runs of members."""
        return self.tags.get("quorate.kind", "")

    @property
    def is_view(self) -> bool:
        """Whether the fit task was trained together with another one, whose learning curves it repeats."""
        return bool(self.params.get("view"))

    @property
    def stops_early(self) -> bool:
        """Whether the parameters contain early stopping. Earlier versions also wrote parameters without a value."""
        given = (name for name, value in self.params.items() if value != "None")
        return any(name.partition(".")[0] == "early_stopping" for name in given)


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """Metrics of a run at one step."""

    kind: ClassVar[str] = "metrics"
    uid: str
    step: int
    """The epoch, or 0 for final scores."""
    values: Mapping[str, float]
    """Values by metric; NaN and infinities are allowed."""
    timestamp_ms: int
    """Time in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class TagsRecord:
    """Tags of a run that were not known at its start. The last value of a key counts."""

    kind: ClassVar[str] = "tags"
    uid: str
    tags: Mapping[str, str]

    @property
    def host(self) -> str:
        """The machine of a fit task; empty if the tags do not contain it."""
        before = self.tags.get("quorate.worker", "")  # journals of earlier versions: `HOST:PROCESS`
        return self.tags.get("quorate.host") or before.rpartition(":")[0] or before


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A finished file, or a folder with its contents, to upload."""

    kind: ClassVar[str] = "artifact"
    uid: str
    path: str
    """The path relative to the journal's folder, or an absolute path if it is outside that folder."""
    folder: str
    """The folder in the run's artifacts; empty for the top level."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """Data that a run used."""

    kind: ClassVar[str] = "dataset"
    uid: str
    name: str
    source: str
    """The path of the data, or its kind if it has no path."""
    digest: str
    """Fingerprint of the content."""
    profile: Mapping[str, object]
    """The number of rows, the shape of a row and the number of classes."""
    context: Context
    signature: Mapping[str, object] | None = None
    """The type of a row, as `quorate.data.signature` writes it; None in journals of earlier versions."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A finished bundle to log as a model and to register. Earlier versions wrote only `uid`, `bundle` and `name`."""

    kind: ClassVar[str] = "model"
    uid: str
    bundle: str
    """The path of the bundle, as in `ArtifactRecord`."""
    name: str
    """The name of the registered model."""
    run: str = ""
    """The name of the run folder."""
    note: str = ""
    """Markdown text for the page of the model version."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the run to show with the model version."""
    pictures: tuple[str, ...] = ()
    """Paths of pictures of the run, as in `ArtifactRecord`."""


@dataclass(frozen=True, slots=True)
class RankingRecord:
    """A view that lists the members of a run folder, or the trials of a search, best first."""

    kind: ClassVar[str] = "ranking"
    uid: str
    run: str
    """The name of the run folder."""
    searched: tuple[str, ...] = ()
    """The parameters of a search that all trials have; empty for a job."""
    metric: str = "oof_nll"
    """The metric that orders the list."""


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The end of a run."""

    kind: ClassVar[str] = "end"
    uid: str
    status: Status
    end_ms: int
    """End time in milliseconds since 1970."""


Outcome = Literal[
    "fitted", "predicted", "extracted", "failed", "diverged", "lost", "memory", "stopped", "cancelled", "out of time"
]
"""How an attempt at a task ended; `lost` if its worker or its node died."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a task, when it has ended. Journals of earlier versions have none."""

    kind: ClassVar[str] = "attempt"
    task: str
    """The task in words, such as `cnn fold 3`."""
    attempt: int
    worker: str
    """The machine and the process that ran it, as `HOST:PROCESS`."""
    start_ms: int
    end_ms: int
    """Start and end in milliseconds since 1970."""
    outcome: Outcome
    restored: bool = False
    """Whether it continued from a checkpoint."""
    queued_ms: int | None = None
    """When the task began to wait for a worker, in milliseconds since 1970; None in journals of earlier versions."""

    @property
    def host(self) -> str:
        return self.worker.rpartition(":")[0] or self.worker

    @property
    def process(self) -> str:
        return self.worker.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class CloseRecord:
    """The last record of a journal."""

    kind: ClassVar[str] = "close"


Record = (
    HeaderRecord
    | RunRecord
    | MetricsRecord
    | TagsRecord
    | ArtifactRecord
    | DatasetRecord
    | ModelRecord
    | RankingRecord
    | EndRecord
    | AttemptRecord
    | CloseRecord
)
