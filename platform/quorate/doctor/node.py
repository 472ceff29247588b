"""What a node of a cluster tells about itself; it runs there, in a worker of Ray."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quorate.doctor.listeners import Listener, Process, listeners, owners
from quorate.execution.ray.token import token_file
from quorate.store import reached

LIBRARIES = ("ray", "quorate", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pandas", "skops")
"""Packages that workers use, and that affect results."""

_SHARED = Path("/dev/shm")  # noqa: S108 - the place, not a file in it
_PROGRAMS = {
    "^gcs_server ": "GCS",
    r"ray\.util\.client\.server .*--mode=proxy": "Ray Client",
    r"/dashboard/dashboard\.py": "dashboard",
    "ray::ProxyActor": "Ray Serve",
    "ray::HAProxyManager": "Ray Serve",
}
"""Regular expressions for the name and command line of Ray's processes that serve requests from outside."""


@dataclass(frozen=True)
class OpenPort:
    """A port of a service of Ray."""

    service: str
    port: int
    address: str
    """The address on which the service listens, with the port."""
    is_local: bool
    """Whether only processes of the same host can connect."""


@dataclass(frozen=True)
class TokenFile:
    """A file with Ray's token."""

    path: str
    mode: int


@dataclass(frozen=True)
class NodeFacts:
    """Facts about a node."""

    python: str
    versions: Mapping[str, str | None]
    """Of the packages that are installed there; None for those that are not."""
    token: TokenFile | None
    """The file from which the node reads the token; None if it has none, or has the token in a variable."""
    uses_tls: bool
    shared_memory: int
    """Size of /dev/shm in bytes; 0 if there is none."""
    ports: tuple[OpenPort, ...]
    reaches_store: bool | None
    """None if no store was looked for."""


@dataclass(frozen=True)
class StoreChallenge:
    """A store, a nonce that was written there, and the variables with the credentials."""

    address: str
    nonce: str
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class NodeQuestion:
    """Calling it on a node gives the facts about the node."""

    challenge: StoreChallenge | None

    def __call__(self) -> NodeFacts:
        return NodeFacts(
            platform.python_version(),
            installed_versions(),
            _token_file(),
            os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"),
            shutil.disk_usage(_SHARED).total if _SHARED.is_dir() else 0,
            _open_ports(),
            None if self.challenge is None else _reaches(self.challenge),
        )


def installed_versions() -> dict[str, str | None]:
    """The versions of the packages that affect results."""
    return {name: _version(name) for name in LIBRARIES}


def _token_file() -> TokenFile | None:
    """The file from which Ray reads the token in this process, with its mode."""
    path = token_file()
    try:
        return None if path is None else TokenFile(str(path), path.stat().st_mode & 0o777)
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _reaches(challenge: StoreChallenge) -> bool:
    os.environ.update(challenge.variables)
    return reached(challenge.address, challenge.nonce) is not None


def _open_ports() -> tuple[OpenPort, ...]:
    known = owners()
    found = {
        OpenPort(service, each.port, str(each), each.is_local)
        for each in listeners()
        if (service := _service(each, known)) is not None
    }
    return tuple(sorted(found, key=lambda port: (port.service, port.port, port.address)))


def _service(listener: Listener, known: Mapping[str, Process]) -> str | None:
    process = known.get(listener.inode)
    if process is None:
        return None
    words = f"{process.name} {process.command}"
    return next((service for pattern, service in _PROGRAMS.items() if re.search(pattern, words)), None)
