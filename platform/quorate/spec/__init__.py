"""Read and validate job files into frozen, typed values; report all errors together, each with its place."""

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
