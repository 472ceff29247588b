"""Start a local Ray or connect to a Ray cluster."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from quorate.errors import UserError
from quorate.execution.ray.sent_environment import settings_for_workers
from quorate.registry import own_code
from quorate.spec.hub_policy import VARIABLE as HUB_POLICY

KEEPS_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
"""Settings of the workers' glibc (mallopt(3)) that keep freed memory in the process.

By default, glibc returns the memory of the activations to the system after every training step, and the system clears
its pages again for the next step. This takes a fifth or more of the time of a network on 96x96 pixels (`make bench`).
"""


_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The path that Ray appends to its temporary folder, with the largest process number of Linux (proc(5), pid_max)."""
NICENESS = "RAY_worker_niceness"
"""Ray's variable for the niceness of its workers. Its default is 15: a worker then gets 3 % of a core that a process
of niceness 0 wants too (the weights 36 and 1024 of sched(7))."""
_WORKER = "quorate.execution.ray.worker"
"""The module that the workers of a local Ray import when they start, before they have a task: torch takes seconds."""

log = logging.getLogger(__name__)


class ClusterError(UserError):
    """The cluster cannot be reached."""


def start_ray(
    address: str | None = None, *, cpus: int | None = None, keeps_memory: bool = True, urgent: bool = False
) -> bool:
    """Start a local Ray with `cpus` CPUs (default: all) and return True, or connect to a cluster and return False.

    Call it before Ray is imported, because the import reads the environment. Raises `ClusterError`.

    - `address` defaults to RAY_ADDRESS; `local` starts a local Ray even if RAY_ADDRESS is set.
    - The nodes of a cluster receive this package and the user's own code. Other packages must be installed there.
    - Workers that train keep freed memory (`KEEPS_MEMORY`) unless the environment of this process sets it. Servers
      return freed memory to the system.
    - The workers of a local Ray have niceness 15 unless RAY_worker_niceness is set or they are `urgent`.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        from quorate.execution.ray.head import check_head

        check_head(address)
    prepare_import(address)
    kept = {name: os.environ.get(name, value) for name, value in KEEPS_MEMORY.items()} if keeps_memory else {}
    if address == "local":
        os.environ.update(kept)
        _put_on_path(own_code.own_files())
    import ray

    _keep_messages_of_ray_from_the_screen()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        if too_long := socket_problem():
            raise ClusterError(too_long)
        settings: dict[str, Any] = {"preload_python_modules": [_WORKER]} if keeps_memory else {}
        if urgent and NICENESS not in os.environ:
            settings["worker_niceness"] = 0
        try:
            ray.init(address=address, num_cpus=cpus, include_dashboard=False, _system_config=settings, **quiet)
        except Exception as error:
            raise ClusterError(
                f"Ray does not start on this machine: {_first_line(error)}. `quorate doctor` looks for the reason "
                "(memory, disk, open files); `quorate train JOB.yaml --executor local` trains without Ray"
            ) from error
        return True
    modules = [Path(__file__).resolve().parents[2], *own_code.own_files()]
    try:
        asked = {name: os.environ[name] for name in (HUB_POLICY,) if name in os.environ}
        there = {"py_modules": [str(module) for module in modules], "env_vars": kept | asked, **settings_for_workers()}
        ray.init(address=address, runtime_env=there, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {_first_line(error)}"
            " (a cluster with token authentication needs RAY_AUTH_MODE=token and its token in ~/.ray/auth_token here)"
        ) from None
    return False


def prepare_import(address: str) -> None:
    """Set the variables that Ray reads when it is imported; `address` as `start_ray` will get it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # num_gpus=0 hides the GPUs
    if address == "local":
        require_token()


def _keep_messages_of_ray_from_the_screen() -> None:
    """Log Ray's messages about lost workers and nodes instead of printing them to the standard output.

    Ray 2.60 prints them, a paragraph each, even with `log_to_driver=False`; they would break the output of `--json`.
    Sessions report the same losses in a sentence.
    """
    import ray._private.worker as worker

    def to_log(data: dict[str, Any], ignore_prefix: bool) -> None:
        for line in data["lines"]:
            log.debug("%s", line)

    worker.print_to_stdstream = to_log


def socket_problem() -> str:
    """An error message if the path of Ray's temporary folder is too long for its sockets, else empty.

    The socket paths are `FOLDER/ray/session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store`. An AF_UNIX address has at
    most 107 bytes (103 on macOS; unix(7)).
    """
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(variable, "/tmp")  # noqa: S108 - as Ray chooses it
    longest = (103 if sys.platform == "darwin" else 107) - len(_SOCKET)
    if len(os.fsencode(folder)) <= longest:
        return ""
    return (
        f"{variable}={folder} has {len(os.fsencode(folder))} bytes, and Ray's sockets allow {longest}: set RAY_TMPDIR "
        "to a shorter folder (RAY_TMPDIR=/tmp), or train without Ray (`--executor local`)"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _put_on_path(files: list[Path]) -> None:
    """Let the processes of a local Ray import these packages and modules from their folders."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = dict.fromkeys([*(str(file.parent) for file in files), *filter(None, before)])
    if files:
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)


def require_token() -> None:
    """Turn Ray's token authentication on, unless RAY_AUTH_MODE says otherwise.

    Ray would make the file `~/.ray/auth_token` readable by everyone. This function restricts it to its owner. If the
    home folder is not writable, the token is kept in the environment of this process.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = token_path()
    if path is None:  # child processes inherit it; no other process needs to connect to a local Ray
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return
    # Written to a temporary file (mkstemp: mode 0600) and linked, so that no process reads half a token.
    number, name = tempfile.mkstemp(dir=path.parent)
    written = Path(name)
    try:
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(32))
        path.hardlink_to(written)
    except FileExistsError:
        path.chmod(0o600)
    finally:
        written.unlink()


def token_path() -> Path | None:
    """The path of Ray's token in the home folder; creates its folder. None if the home folder is not writable."""
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no HOME, and a user number without a name
        return None
    path = folder / "auth_token"
    return path if path.exists() or os.access(folder, os.W_OK | os.X_OK) else None
