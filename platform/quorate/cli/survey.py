"""`quorate survey`: survey a cluster from its head."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from quorate.cli.driver import enter_home
from quorate.cli.options import store_uri


def survey(store: Annotated[str | None, typer.Option(metavar="URI", help="The store to look for.")] = None) -> None:
    """Print a survey of the cluster on which this process runs, as JSON. `quorate doctor --address` starts it."""
    from quorate.doctor.survey import take_survey

    enter_home()
    typer.echo(take_survey(os.environ["RAY_ADDRESS"], store or store_uri()).to_text())
