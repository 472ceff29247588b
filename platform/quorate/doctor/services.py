"""Check the tracking store, the default ports, and Ray's token."""

from __future__ import annotations

import os
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from quorate.doctor.check import CheckResult
from quorate.doctor.listeners import listeners, owners
from quorate.doctor.machine import disk
from quorate.errors import without_secrets
from quorate.execution.ray.cluster import token_path
from quorate.tracking.shipper_process import SQLITE, default_uri

SECONDS = 5.0
"""Timeout of a request to a server, in seconds. An assumption, not a measurement."""
PORTS = {
    8000: ("`quorate serve`", "use another --port"),
    5000: ("`quorate ui`", "use another --port"),
    6379: ("a Ray cluster", "`quorate train` uses this cluster only with --address"),
    8265: ("Ray's dashboard", ""),
}
"""Default ports, the program that uses each of them, and what to do if another process occupies the port."""

_TRACKING_SCHEMES = ("file", "postgresql", "mysql", "mssql", "databricks")


def tracking() -> Iterator[CheckResult]:
    """Check that the MLflow tracking store accepts runs."""
    uri = default_uri()
    if uri.startswith(SQLITE):
        yield _sqlite(Path(uri.removeprefix(SQLITE)))
    elif uri.startswith(("http://", "https://")):
        yield _server(uri)
    elif (scheme := uri.partition(":")[0]) not in _TRACKING_SCHEMES:
        fix = "set MLFLOW_TRACKING_URI to sqlite:///FILE, http://HOST:PORT or postgresql://…"
        yield CheckResult("tracking", "problem", f"{without_secrets(uri)}: MLflow does not support {scheme!r}", fix)
    else:
        yield CheckResult(
            "tracking",
            "note",
            f"{without_secrets(uri)} is not checked; `quorate sync` shows whether it accepts records",
        )


def _sqlite(path: Path) -> CheckResult:
    if not path.exists():
        room = disk("tracking", path.parent)
        return (
            room
            if room.level == "problem"
            else CheckResult("tracking", "ok", f"does not exist yet; the first job creates {path}")
        )
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return CheckResult(
            "tracking", "problem", f"{path} cannot be written", "change its owner, or set MLFLOW_TRACKING_URI"
        )
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return CheckResult("tracking", "note", f"{path} is in use: {error}")
    except sqlite3.DatabaseError as error:
        fix = "move the file away; the next job creates a new one, and `quorate sync RUN` sends a run again"
        return CheckResult("tracking", "problem", f"{path} is not a valid database: {error}", fix)
    return CheckResult("tracking", "ok", str(path))


def _server(uri: str) -> CheckResult:
    shown, later = (
        without_secrets(uri),
        "start the server, or correct MLFLOW_TRACKING_URI; jobs also run without it, and `quorate sync RUN` sends "
        "their records later",
    )
    host = uri.partition("://")[2].rpartition("@")[2]  # an address can contain a password, which is only for MLflow
    address = f"{uri.partition('://')[0]}://{host.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - http or https, see above
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return CheckResult(
                "tracking", "note", f"{shown} answers and requires credentials (MLFLOW_TRACKING_USERNAME, _PASSWORD)"
            )
        return CheckResult("tracking", "problem", f"{shown}/health returns the HTTP status {error.code}", later)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return CheckResult("tracking", "problem", f"{shown} does not answer: {reason}", later)
    return CheckResult("tracking", "ok", f"{shown} answers ({status})")


def ports() -> Iterator[CheckResult]:
    """Check which processes listen on the default ports."""
    listening, known = {each.port: each for each in listeners()}, owners()
    for port, (user, otherwise) in PORTS.items():
        found = listening.get(port)
        if found is None and not _answers(port):
            yield CheckResult(f"port {port}", "ok", f"free ({user})")
            continue
        address = f"127.0.0.1:{port}" if found is None else str(found)
        who = "a process" if found is None else known.get(found.inode, "another user's process")
        message = f"{who} listens on {address} ({user}" + (f"; {otherwise})" if otherwise else ")")
        yield CheckResult(f"port {port}", "note", message)


def ray_token() -> Iterator[CheckResult]:
    """Check the permissions of the token file; the token allows programs to run code on a local Ray."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        yield CheckResult("Ray's token", "ok", "in the variable RAY_AUTH_TOKEN")
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else token_path()
    if path is None:
        message = "the home folder is missing or cannot be written; each command that starts Ray creates its own token"
        yield CheckResult("Ray's token", "note", message)
        return
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        yield CheckResult("Ray's token", "ok", f"does not exist yet; the first job on Ray creates {path}")
        return
    if mode & 0o077:
        message = f"{path} has mode {mode:04o}: other users can read the token and run code on your Ray"
        yield CheckResult("Ray's token", "problem", message, f"chmod 600 {path}")
    else:
        yield CheckResult("Ray's token", "ok", f"{path} has mode {mode:04o}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
