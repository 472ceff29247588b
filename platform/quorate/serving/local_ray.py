"""A Ray to serve on: a small one of our own, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from pathlib import Path


def start_ray(*, cpus: int) -> None:
    """Starts a local Ray with `cpus` CPUs and token authentication, or connects to RAY_ADDRESS.

    Nodes of a cluster get this package with the connection; a bundle must be readable there under
    the same path.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        require_token()
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address:
        package = Path(__file__).resolve().parents[1]
        ray.init(address=address, runtime_env={"py_modules": [str(package)]}, **quiet)
    else:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)


def require_token() -> None:
    """Turns Ray's token authentication on, unless RAY_AUTH_MODE says otherwise.

    Ray would make the file `~/.ray/auth_token` readable by everyone: here it is made, or mended, to
    be its owner's only. To be called before Ray is imported, which reads the mode then.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    # written aside (mkstemp: mode 0600) and linked, so that nobody reads half a token
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
