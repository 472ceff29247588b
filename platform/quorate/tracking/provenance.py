"""Read from a run's journal what its results depend on: seed, validation, data, numerical settings and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quorate.tracking.journal import records
from quorate.tracking.records import Context, DatasetRecord, RunRecord, TagsRecord


@dataclass(frozen=True)
class FitNumerics:
    """Numerical settings of a fit task, as in `quorate.training.context.Numerics`."""

    device: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Provenance:
    """What the results of a run depend on."""

    seed: str | None
    """The seed of the job; None if the journal has no record of the job."""
    validation: str | None
    """How the job validates, such as `5 folds`; None if the journal has no record of it."""
    digests: Mapping[Context, str]
    """Fingerprints of the data."""
    numerics: tuple[FitNumerics, ...]
    """The distinct settings of the fit tasks, in the order in which the tasks started."""
    hosts: tuple[str, ...]
    """The machines of the fit tasks, in the order in which the tasks started."""


def read_provenance(path: Path) -> Provenance:
    """Read the journal at `path`; raises `JournalError`."""
    job: Mapping[str, str] = {}
    digests: dict[Context, str] = {}
    numerics: dict[FitNumerics, None] = {}
    hosts: dict[str, None] = {}
    for record in records(path):
        match record:
            case RunRecord(parent=None):
                job = record.params
            case RunRecord(params={"device": device, "precision": precision, "threads": threads}):
                numerics[FitNumerics(device, precision, int(threads))] = None
            case DatasetRecord():
                digests[record.context] = record.digest
            case TagsRecord() if record.host:
                hosts[record.host] = None
    return Provenance(job.get("seed"), job.get("validation"), digests, tuple(numerics), tuple(hosts))
