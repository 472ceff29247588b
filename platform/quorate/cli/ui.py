"""`quorate ui`: MLflow's user interface on the tracking store in use."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer


def ui(
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 5000,
) -> None:
    """Open MLflow's user interface on MLFLOW_TRACKING_URI, or on mlflow.db in this folder."""
    from quorate.tracking.live import default_uri

    uri = default_uri()
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the tracking server has its own user interface: {uri}")
        _say_members(uri, uri)
        return
    server = f"http://{host}:{port}"
    typer.echo(f"{uri} at {server}")
    _say_members(uri, server)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    try:
        code = subprocess.run(command, env=dict(os.environ), check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def _say_members(uri: str, server: str) -> None:
    """The addresses of the newest run's members at this tracking server, if one of the runs here was sent to it."""
    from quorate.cli.places import runs_folder
    from quorate.tracking.ranking import address, newest

    found = newest(runs_folder(), uri)
    if found is None:
        return
    run, experiment_id = found
    typer.echo(f"members of {run}, the best one first: {address(server, experiment_id, run)}")
    typer.echo(f"the same as charts: {address(server, experiment_id, run, charts=True)}")
