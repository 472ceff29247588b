"""`quorate driver`: run a submitted job on the head of a cluster."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.clock import began
from quorate.cli.console import make_console
from quorate.cli.job_result import say_elsewhere
from quorate.cli.options import store_uri
from quorate.cli.train import run_and_show

HOME = "QUORATE_HOME"


def driver(name: Annotated[str, typer.Argument(metavar="ID", help="The id of the job on the cluster.")]) -> None:
    """Run the job in the current folder, to which Ray has unpacked it. `quorate submit` starts this command.

    It works in the folder QUORATE_HOME of the head, by default ~/quorate, which outlives the driver.
    """
    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest
    from quorate.execution.ray import sent_environment
    from quorate.job.lease import JobRunsElsewhere
    from quorate.job.run import Options
    from quorate.job.sent_job import receive
    from quorate.job.submitted_run import publish_run
    from quorate.runs.lookup import runs_address, runs_kept_at, runs_place
    from quorate.store import open_store

    since, console, stop = began(), make_console(), StopRequest()
    consoles = (console, console, console)
    stop.install()
    sent = Path.cwd()
    sent_environment.load()
    home = enter_home()
    try:
        received = receive(sent, Path(".quorate/sent"))
        with runs_kept_at(received.runs or runs_address()):
            place, store = runs_place(), open_store(received.store or store_uri())
            place.check()
            console.print(f"driver of {name} in {home}; store: {store.address}; runs: {place.address}", soft_wrap=True)
            options = Options(store, place, "ray", None, since, announce=partial(publish_run, name))
            try:
                run_and_show(received.job, options, consoles, stop, as_json=False, on_this_machine=False)
            except JobRunsElsewhere as elsewhere:
                say_elsewhere(elsewhere, True, consoles, stop, as_json=False)
    except Interrupted as interrupted:
        console.print(f"interrupted ({interrupted}); finished tasks and checkpoints are kept", highlight=False)
        console.file.flush()
        sys.exit(128 + interrupted.signum)


def enter_home() -> Path:
    """Work in the folder of the head that outlives its drivers, and return it."""
    home = Path(os.environ.get(HOME) or "~/quorate").expanduser()
    home.mkdir(parents=True, exist_ok=True)
    os.chdir(home)
    return home
