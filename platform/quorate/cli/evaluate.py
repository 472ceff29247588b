"""`quorate evaluate`: measure an ensemble on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import AllowCodeOption, BundleOption, DeviceOption, JsonOption, RunsOption
from quorate.json_text import json_text


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Labelled rows: an .npz with images and labels, a folder of class folders, or a CSV or Parquet file; "
            "or the URL of one of these.",
            show_default=False,
        ),
    ],
    run: BundleOption = None,
    runs_at: RunsOption = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column of the table, or array of the .npz, that contains the classes. Default: the name in the "
            "training data, or 'labels'.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="A folder for evaluation.json, scores.csv, confusion.png, reliability.png."
        ),
    ] = None,
    device: DeviceOption = "auto",
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Measure the ensemble of a run on labelled rows: metrics with intervals, classes, mistakes, members."""
    from quorate.scoring.output import check_output_folder

    if output is not None:
        check_output_folder(output)
    from quorate.runs.lookup import bundle_folder

    folder = bundle_folder(run)
    from quorate.bundle import Bundle
    from quorate.data.given import find_given
    from quorate.scoring.evaluation import evaluate as evaluate_answers
    from quorate.scoring.inputs import may_skip
    from quorate.scoring.labelled_files import read_labelled
    from quorate.scoring.score import ask

    bundle = Bundle.load(folder, allow_code=allow_code, device=device)
    given = find_given(data, key="DATA")
    with given.shown_in_errors():
        labelled = read_labelled(given.paths[0], bundle, label=label)
        answers = ask(bundle, labelled.rows, members=True)
    labelled, answers = labelled.readable().named(given.shown), answers.named(given.shown)
    for note in answers.notes:
        typer.echo(f"note: {note}", err=True)
    found = evaluate_answers(bundle, given.shown(str(given.paths[0])), labelled, answers)
    if output is not None:
        from quorate.report.evaluation_files import write_evaluation
        from quorate.scoring.output import writing
        from quorate.scoring.score import scores_of

        with writing(output):
            write_evaluation(output, found, scores_of(answers, bundle), answers.proba, labelled.y)
    code = 1 if labelled.unreadable and not may_skip(bundle) else 0
    if json:
        typer.echo(json_text(found))
        raise typer.Exit(code)

    from quorate.report.evaluation import as_tables

    console = make_console(highlight=False)
    for part in as_tables(found):
        console.print(part)
    if output is not None:
        console.print(f"wrote figures, scores and pictures to {output}")
    raise typer.Exit(code)
