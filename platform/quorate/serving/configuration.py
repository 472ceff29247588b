"""Build one Ray Serve application of a run, for configuration files of Serve (`serve deploy`, RayService of KubeRay).

`quorate serve` starts a service on one machine; this module describes the same service to a Serve that runs on a
cluster. Its `import_path` is `quorate.serving.configuration:application`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from quorate.errors import UserError
from quorate.serving.application import bind_ensemble, bind_front
from quorate.serving.auth import digest, read_token
from quorate.serving.limits import Limits

RUN = "QUORATE_SERVED_RUN"
"""The environment variable of all nodes that names the run. It is part of the pods, not of the arguments below: Serve
would change an argument in place, and a batch could then reach two versions. A changed pod makes KubeRay start a new
cluster and switch to it when it is ready."""
STARTS_WITHIN_S = 600.0
"""Maximum number of seconds until the ensemble is downloaded and loaded. An assumption, not a measurement."""
FRONT_CPUS = 0.1
"""Share of a core that each front reserves, so that it does not run on a head node that offers no CPU."""


class ServeArguments(BaseModel):
    """The `args` of the application in a configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_file: Path
    """File on every node with the bearer token that clients must send. There is no default: the port of Serve is open
    to all other machines that reach the node."""
    replicas: int = Field(1, ge=1)
    """Number of processes that predict."""
    fronts: int = Field(1, ge=1)
    """Number of processes that check and batch requests."""
    threads: int = Field(1, ge=1)
    """Number of threads, and of CPUs, of each replica."""
    gpus: float = Field(0, ge=0)
    """Share of an accelerator of each replica; 0 predicts on the CPU."""
    allow_code: bool = False
    """Whether to import the user's own code that the bundle names."""


def application(arguments: dict[str, Any]) -> Any:
    """Return the Serve application of the run that the environment variable `QUORATE_SERVED_RUN` names.

    Raises `UserError` if it names none, or if the token cannot be read; `ValidationError` for wrong arguments.
    """
    given = ServeArguments.model_validate(arguments)
    ensemble = bind_ensemble(
        _run(), replicas=given.replicas, threads=given.threads, gpus=given.gpus, allow_code=given.allow_code
    )
    return bind_front(
        limits=Limits(),
        token=digest(read_token(given.token_file)),
        concurrency=given.replicas,
        configuration={"timeout_s": STARTS_WITHIN_S},
        ensemble=ensemble,
        replicas=given.fronts,
        cpus=FRONT_CPUS,
    )


def _run() -> str:
    """The run that is served. It must not change, because replicas load it at different times."""
    run = os.environ.get(RUN, "")
    if not run or "@" in run:
        raise UserError(
            f"{RUN} is {run!r}; set it on all nodes to one run, such as s3://bucket/runs/NAME, or to a version of a "
            "model, such as models:/digits/3 (not to an alias: replicas that start later would load another version)"
        )
    return run
