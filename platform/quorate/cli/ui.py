"""`quorate ui`: open the MLflow user interface."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Annotated

import typer

from quorate.cli.options import RunsOption

GRACE_SECONDS = 5.0
"""Number of seconds that MLflow's processes have to exit before they are killed. An assumption, not a measurement."""


def ui(
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 5000,
    runs_at: RunsOption = None,
) -> None:
    """Open the MLflow user interface on MLFLOW_TRACKING_URI, or on mlflow.db in this folder."""
    from quorate.tracking.shipper_process import default_uri

    uri = default_uri()
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the tracking server has its own user interface: {uri}")
        _say_members(uri, uri)
        return
    server = f"http://{host}:{port}"
    typer.echo(f"{uri} at {server}")
    _say_members(uri, server)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    raise typer.Exit(run_group(command))


def run_group(command: list[str]) -> int:
    """Run a command in its own process group, and end the whole group when the command or this process ends.

    MLflow starts a server and its workers, which keep running if only their parent ends. Returns the exit code of the
    command, or 128 + N if signal N ended the wait.
    """
    asked: list[int] = []
    group = 0

    def on_signal(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)
        if group:
            _signal_group(group, signal.SIGTERM)

    stopping = [signal.SIGINT, signal.SIGTERM]
    if (
        signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    ):  # nohup ignores SIGHUP: keep running after the terminal closes
        stopping.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in stopping}
    try:
        process = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)  # noqa: S603
        group = process.pid
        if asked:
            _signal_group(group, signal.SIGTERM)
        try:
            code = _wait(process, asked)
        finally:
            _signal_group(group, signal.SIGKILL)  # processes that are still running
            process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + asked[0] if asked else code


def _wait(process: subprocess.Popen[bytes], asked: list[int]) -> int:
    """Wait for the process to end; after a signal, wait at most `GRACE_SECONDS`."""
    while not asked:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    try:
        return process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _signal_group(group: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signum)


def _say_members(uri: str, server: str) -> None:
    """Print the address at which this tracking server shows the members of the newest run in this folder that was sent
    to it."""
    from quorate.runs.lookup import runs_place
    from quorate.tracking.ranking import address, newest

    found = newest(runs_place().sent(), uri)
    if found is None:
        return
    run, experiment_id = found
    typer.echo(f"members of {run}, best first: {address(server, experiment_id, run)}")
    typer.echo(f"the same members as charts: {address(server, experiment_id, run, charts=True)}")
