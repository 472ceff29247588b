"""Find the token that this machine sends to a cluster, and explain why a cluster refuses it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from quorate.execution.ray.cluster import ClusterError


def choose_authentication() -> None:
    """Send a token if this machine has one, unless RAY_AUTH_MODE says otherwise. None is created.

    Call it before Ray is imported, because the import reads the environment.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token" if _source() else "disabled"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def token_to_send() -> str:
    """The token of this machine, as Ray reads it; empty if there is none, or if none is sent."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    if (path := token_file()) is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(f"the token in {path} cannot be read: {error.strerror}") from None


def refusal_of(address: str, *, missing: bool) -> str:
    """The message for a token that the cluster refuses, or that is `missing`."""
    fix = "put the token of the cluster into ~/.ray/auth_token (mode 0600), or its path into RAY_AUTH_TOKEN_PATH"
    if missing:
        mode = os.environ.get("RAY_AUTH_MODE", "")
        why = "this machine has none" if mode == "token" or not _source() else f"RAY_AUTH_MODE={mode} sends none"
        return f"the cluster at {address} requires a token, and {why}; {fix}"
    return f"the cluster at {address} refuses the token of this machine ({_source()}); {fix}"


def token_file() -> Path | None:
    """The file from which Ray reads the token; None if there is none, or if a variable holds the token."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    with contextlib.suppress(OSError, RuntimeError):  # no home folder
        if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
            return Path(given).expanduser()
        if (path := Path.home() / ".ray/auth_token").is_file():
            return path
    return None


def _source() -> str:
    """Where Ray takes the token of this machine from; empty if there is none."""
    for variable in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(variable):
            return variable
    return "" if token_file() is None else "~/.ray/auth_token"
