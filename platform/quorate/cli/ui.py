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
        return
    typer.echo(f"{uri} at http://{host}:{port}")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    try:
        code = subprocess.run(command, env=dict(os.environ), check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
