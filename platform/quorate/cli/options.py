"""Locations of runs and the store, and options that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quorate.errors import UserError
from quorate.registry import own_code
from quorate.runs.lookup import runs_kept_at

if TYPE_CHECKING:
    from quorate.spec import Job
    from quorate.spec.file import Override

RunOption = Annotated[
    str | None,
    typer.Option("--run", help="A run folder, its name or its URL. Default: the newest finished run."),
]
BundleOption = Annotated[
    str | None,
    typer.Option(
        "--run", help="A run folder, its name or its URL, or an MLflow model URI. Default: the newest finished run."
    ),
]
"""For commands that require only the bundle of a run."""


def _keep_runs_at(context: typer.Context, address: str | None) -> str | None:
    """Until the command ends, find runs at this address."""
    if address is not None and not context.resilient_parsing:
        context.find_root().with_resource(runs_kept_at(address))
    return address


RunsOption = Annotated[
    str | None,
    typer.Option(
        "--runs",
        metavar="URI",
        help="Where runs are kept: a folder, or s3://bucket/prefix. Default: QUORATE_RUNS, or runs.",
        callback=_keep_runs_at,
    ),
]
"""`quorate.runs.lookup` reads the value."""


def _refuse_code(context: typer.Context, allowed: bool) -> bool:
    """Unless `allowed`, forbid imports of users' own code that a run refers to, until the command ends."""
    if not allowed and not context.resilient_parsing:
        # the root context is closed when the command ends, even if parsing another option fails
        context.find_root().with_resource(own_code.forbid_imports())
    return allowed


AllowCodeOption = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Import the code that the run refers to as module:name. Use this only for runs that you trust.",
        callback=_refuse_code,
    ),
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where networks predict; auto takes an accelerator if there is one."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The dashboard of the cluster's head, http://HEAD:8265. Default: RAY_API_SERVER_ADDRESS.",
    ),
]
"""For commands about submitted jobs."""
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URI", help="The store of finished work. Default: QUORATE_STORE, or .quorate/store."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
HubOption = Annotated[
    str | None,
    typer.Option(
        "--hub",
        metavar="never|allow|fit-only",
        help="Whether a hub may be asked for weights that are not on this machine; fit-only: by jobs alone. "
        "Default: QUORATE_HUB, or allow.",
    ),
]

_KEYS = {"executor": "execution.executor", "seed": "seed", "budget": "execution.budget", "hub": "execution.hub"}
"""The keys of a job file that options override."""
_BUCKETS = ("s3://", "gs://", "az://")


def check_cluster(address: str | None) -> None:
    """Raise `ClusterError` if the cluster does not answer or refuses the token; nothing is checked for a local Ray."""
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    if place != "local":
        from quorate.execution.ray.head import check_head

        check_head(place)


def check_executor(job: Job, address: str | None) -> None:
    """Raise `UserError` for an address that would have no effect, and `ClusterError` if the cluster refuses the job."""
    executor = job.spec.execution.executor
    if address is not None and executor == "local":
        raise UserError(
            f"--address {address} requires the executor ray, but the executor is local; "
            "leave out --address, or give --executor ray"
        )
    if address is None and executor == "ray":
        check_cluster(None)  # an explicit address was checked before


def overrides_of(options: Mapping[str, object]) -> list[Override]:
    """What options override in a job file, by their names; those that are None override nothing."""
    from quorate.spec.file import Override

    given = {name: value for name, value in options.items() if value is not None}
    return [Override(f"{_KEYS[name]}={json.dumps(value)}", f"--{name} {value}") for name, value in given.items()]


def store_uri() -> str:
    """QUORATE_STORE, or `.quorate/store` in the current folder."""
    return os.environ.get("QUORATE_STORE", ".quorate/store")


def place_on_cluster(given: str | None, here: str) -> str | None:
    """A place for the head of a cluster: the option, or a bucket that this machine uses; None for its own choice."""
    place = given or (here if here.startswith(_BUCKETS) else None)
    if place is not None and "://" in place and not place.startswith((*_BUCKETS, "file://")):
        raise UserError(f"{place.partition('://')[0]}:// is not one of {', '.join(_BUCKETS)}; or name a folder")
    return place
