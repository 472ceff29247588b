"""`quorate serve`: serve an ensemble over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.options import AllowCodeOption, BundleOption, DeviceOption, RunsOption


def serve(
    run: BundleOption = None,
    runs_at: RunsOption = None,
    host: Annotated[
        str, typer.Option(help="Address to bind. Addresses other than loopback require a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8000,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients must send.")] = None,
    device: DeviceOption = "auto",
    allow_code: AllowCodeOption = False,
) -> None:
    """Serve the ensemble of a run with Ray Serve until Ctrl-C."""
    from quorate.runs.lookup import bundle_folder

    folder = bundle_folder(run)
    from quorate.errors import Interrupted
    from quorate.serving.service import ServingFailed, serve_bundle

    try:
        serve_bundle(folder, host=host, port=port, token_file=token_file, device=device, allow_code=allow_code)
    except ServingFailed as failure:
        typer.echo(f"error: {failure}", err=True)
        raise typer.Exit(1) from None
    except Interrupted as interrupted:
        typer.echo("stopped before the service was ready", err=True)
        raise typer.Exit(128 + interrupted.signum) from None
