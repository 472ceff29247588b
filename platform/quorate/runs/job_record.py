"""Read parts of a run's `job.json` without loading the kinds that it names.

`RunFolder.spec` reads the whole job, and requires the user's own code that the job names. A list of runs does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

_RESULT_PARTS = ("data", "validation", "members", "combiner", "seed", "quorum")
"""Parts of a job that can change its result."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class DataRecord(_Part):
    """The rows of a job."""

    kind: str = ""
    train: Any = None
    """Often a path; the type depends on the kind of the data."""

    def __str__(self) -> str:
        """The kind, and the last two parts of the path if there is one."""
        return f"{self.kind} {'/'.join(Path(self.train).parts[-2:])}" if isinstance(self.train, str) else self.kind


class MemberRecord(_Part):
    """One member of a job."""

    copies: int = 1


class TrackingRecord(_Part):
    """Whether a job is tracked with MLflow."""

    enabled: bool = False


class JobRecord(_Part):
    """The parts of a job that a list of runs requires."""

    data: DataRecord = DataRecord()
    members: Mapping[str, MemberRecord] = {}
    tracking: TrackingRecord = TrackingRecord()

    @property
    def copies(self) -> int:
        """Number of members; each copy counts as one."""
        return sum(member.copies for member in self.members.values())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `job.json`; raises `OSError`, or `ValueError` if it is not the file of a job."""
        return cls.model_validate_json(path.read_bytes())


def result_parameters(path: Path) -> dict[str, Any]:
    """The parameters in a `job.json` that can change the result, by their path in the job file."""
    job = json.loads(path.read_text(encoding="utf-8"))
    return _flat({part: job.get(part) for part in _RESULT_PARTS})


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return flat
