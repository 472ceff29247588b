"""The job file as frozen, typed values, with every error at once and its place."""

from quorate.spec.job import (
    NAME,
    Bytes,
    ExecutionSpec,
    ExistingPath,
    Job,
    JobSpec,
    MemberParams,
    ProductionSpec,
    QuorumSpec,
    Seconds,
    TrackingSpec,
    ValidationSpec,
    load_job,
    spec_of_run,
    validate,
)

__all__ = [
    "NAME",
    "Bytes",
    "ExecutionSpec",
    "ExistingPath",
    "Job",
    "JobSpec",
    "MemberParams",
    "ProductionSpec",
    "QuorumSpec",
    "Seconds",
    "TrackingSpec",
    "ValidationSpec",
    "load_job",
    "spec_of_run",
    "validate",
]
