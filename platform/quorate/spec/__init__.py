"""Read and validate job files into frozen, typed values; report all errors together, each with its place."""

from quorate.spec.job import (
    ExecutionSpec,
    Job,
    JobSpec,
    ProductionSpec,
    QuorumSpec,
    TrackingSpec,
    ValidationSpec,
    load_job,
    record_of,
    spec_of_run,
    validate,
    without_queries,
)
from quorate.spec.kind_params import ACCELERATOR_TYPE, DatasetParams, MemberParams, TestOrigin
from quorate.spec.values import NAME, Bytes, DataPath, ExistingPath, PathLookup, Seconds, check_url, is_url

__all__ = [
    "ACCELERATOR_TYPE",
    "NAME",
    "Bytes",
    "DataPath",
    "DatasetParams",
    "ExecutionSpec",
    "ExistingPath",
    "Job",
    "JobSpec",
    "MemberParams",
    "PathLookup",
    "ProductionSpec",
    "QuorumSpec",
    "Seconds",
    "TestOrigin",
    "TrackingSpec",
    "ValidationSpec",
    "check_url",
    "is_url",
    "load_job",
    "record_of",
    "spec_of_run",
    "validate",
    "without_queries",
]
