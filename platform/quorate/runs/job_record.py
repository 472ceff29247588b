"""Read parts of a run's `job.json` without loading the kinds that it names.

`RunFolder.spec` reads the whole job, and requires the user's own code that the job names. A list of runs does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from quorate.runs.errors import RunError

JOB_FILE = "job.json"
"""The file in a run folder with the job, with all defaults. Every version of Quorate has written it."""
_RESULT_PARTS = ("data", "validation", "members", "combiner", "seed", "quorum")
"""Parts of a job that can change its result."""


class _JobPart(BaseModel):
    model_config = ConfigDict(frozen=True)


class DataRecord(_JobPart):
    """The rows of a job."""

    kind: str = ""
    train: Any = None
    """Often a path; the type depends on the kind of the data."""

    def __str__(self) -> str:
        """The kind, and the last two parts of the path or URL if there is one."""
        if not isinstance(self.train, str):
            return self.kind
        path = self.train.partition("?")[0] if "://" in self.train else self.train  # the query can hold a secret
        return f"{self.kind} {'/'.join(Path(path).parts[-2:])}"


class MemberRecord(_JobPart):
    """One member of a job."""

    copies: int = 1


class TrackingRecord(_JobPart):
    """Whether a job is tracked with MLflow."""

    enabled: bool = False


class JobRecord(_JobPart):
    """The parts of a job that a list of runs requires."""

    data: DataRecord
    members: Mapping[str, MemberRecord]
    tracking: TrackingRecord = TrackingRecord()

    @property
    def copies(self) -> int:
        """Number of members; each copy counts as one."""
        return sum(member.copies for member in self.members.values())

    @staticmethod
    def read(path: Path) -> JobRecord:
        """Read `job.json`; raises `RunError` if it cannot be read, or is not the file of a job."""
        return _read(path)[0]


def result_parameters(path: Path) -> dict[str, Any]:
    """The parameters in a `job.json` that can change the result, by their path in the job file; raises `RunError`."""
    job = json.loads(job_text(path))
    return _flat({part: job.get(part) for part in _RESULT_PARTS})


def job_text(path: Path) -> str:
    """The text of a `job.json`; raises `RunError` if it cannot be read, or is not the file of a job."""
    return _read(path)[1]


def _read(path: Path) -> tuple[JobRecord, str]:
    """The job in a file, and the text of the file."""
    try:
        text = path.read_text(encoding="utf-8")
        return JobRecord.model_validate_json(text), text
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _no_job(path, "it is not UTF-8 text") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _no_job(path, f"{place}: {first['msg']}" if place else first["msg"]) from None


def _no_job(path: Path, reason: str) -> RunError:
    return RunError(
        f"{path} is not a job that Quorate wrote, or it is damaged ({reason}); restore the file from a copy, or start "
        "the job again"
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return flat
