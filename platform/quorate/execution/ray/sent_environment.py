"""Environment variables that were sent with a job, in its driver and in its workers.

Ray's own way, `env_vars` of a runtime environment, would show them in its dashboard and write them to its logs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

NAME = "submitted-environment.json"
"""The file in the working folder of the job, which Ray unpacks on each node for the processes of the job."""

_HOOK = f"{__name__}.load"


def packed(variables: Mapping[str, str]) -> bytes:
    """The content of the file."""
    return json.dumps(dict(variables)).encode()


def load() -> None:
    """Set the variables in this process, whose current folder is the working folder of the job, if there are any."""
    global _is_here
    try:
        content = Path(NAME).read_bytes()
    except FileNotFoundError:
        return
    os.environ.update(json.loads(content))
    _is_here = True


def settings_for_workers() -> dict[str, str]:
    """The part of the runtime environment that lets each worker `load` before anything else, as this process did."""
    return {"worker_process_setup_hook": _HOOK} if _is_here else {}


_is_here = False
"""Whether this process has loaded variables."""
