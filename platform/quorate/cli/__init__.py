"""The command line `quorate`. Each command imports its modules only when it runs, so that `--help` is fast."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

import typer

from quorate import __version__
from quorate.cli import (
    augment,
    backbones,
    curves,
    diagnose,
    distill,
    doctor,
    driver,
    environment,
    evaluate,
    init,
    leaderboard,
    lr_find,
    overfit,
    predict,
    prune,
    report,
    runs,
    schema,
    serve,
    soup,
    store,
    submit,
    submitted,
    survey,
    sync,
    top,
    train,
    tune,
    ui,
)
from quorate.cli import list_kinds as listing
from quorate.cli.commands import Command, Group
from quorate.errors import UserError

app = typer.Typer(
    name="quorate",
    cls=Group,
    help="Train ensembles of diverse classifiers on a cluster and serve their calibrated average.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"quorate {__version__}")
        raise typer.Exit


_COMMANDS: dict[str, Callable[..., None]] = {
    "init": init.init,
    "train": train.train,
    "tune": tune.tune,
    "submit": submit.submit,
    "status": submitted.status,
    "logs": submitted.logs,
    "stop": submitted.stop,
    "fetch": submitted.fetch,
    "top": top.top,
    "leaderboard": leaderboard.leaderboard,
    "backbones": backbones.backbones,
    "lr-find": lr_find.lr_find,
    "overfit": overfit.overfit,
    "curves": curves.curves,
    "diagnose": diagnose.diagnose,
    "report": report.report,
    "predict": predict.predict,
    "prune": prune.prune,
    "evaluate": evaluate.evaluate,
    "distill": distill.distill,
    "soup": soup.soup,
    "serve": serve.serve,
    "ui": ui.ui,
    "sync": sync.sync,
    "list": listing.list_kinds,
    "augment": augment.augment,
    "schema": schema.schema,
    "doctor": doctor.doctor,
}
for _name, _command in _COMMANDS.items():
    app.command(_name, cls=Command)(_command)
app.command("driver", cls=Command, hidden=True)(driver.driver)
app.command("survey", cls=Command, hidden=True)(survey.survey)
app.add_typer(runs.app, name="runs")
app.add_typer(store.app, name="store")


def main() -> None:
    """Run the command line. An error of the user or of the machine gives an exit code and no traceback."""
    # Pillow warns about images above 89 megapixels; quorate.data.images decides which images are read
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    environment.prepare_streams()
    with _plain_errors():
        app()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            environment.flush_streams()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        environment.give_up_output()
        said = environment.explain_os_error(error)
        if said is None:
            raise
        sys.stderr.write(f"error: {said[0]}\n")
        sys.exit(said[1])
