"""`quorate predict`: score images or table rows offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.options import AllowCodeOption, BundleOption, DeviceOption, JsonOption, RunsOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    import pandas as pd

    from quorate.bundle import Bundle
    from quorate.data.given import GivenData
    from quorate.scoring.uncertainty import UncertaintyOptions


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Images, folders of images or .npz archives; CSV or Parquet files for tables; or their URLs.",
            show_default=False,
        ),
    ],
    run: BundleOption = None,
    runs_at: RunsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A .csv, .parquet or .npz file. Default: standard output."),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            "-u",
            help="Add the entropy, its aleatoric and epistemic parts, and the share of dissenting votes.",
        ),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Add a set of classes that contains the true class with this probability, e.g. 0.9."
        ),
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Apply --coverage to each class separately.")] = False,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Mark the most confident rows, so that the expected error rate on them is at most this.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Predict images or table rows with the ensemble of a run: the class and the probability of each class."""
    from quorate.scoring.output import check_output, write_scores
    from quorate.scoring.uncertainty import UncertaintyOptions
    from quorate.spec import is_url

    asked = UncertaintyOptions(uncertainty, coverage, by_class, max_error)
    asked.check()
    if output is not None:
        check_output(output, [Path(one) for one in inputs if not is_url(one)])
    from quorate.runs.lookup import bundle_folder

    folder = bundle_folder(run)
    from quorate.bundle import Bundle
    from quorate.data.given import find_given
    from quorate.scoring.inputs import may_skip

    bundle = Bundle.load(folder, allow_code=allow_code, device=device)
    given = find_given(*inputs, key="INPUT")
    with given.shown_in_errors():
        scores, all_read = _scores(bundle, given, asked)
    if output is not None:
        write_scores(output, scores, bundle.class_names)
        typer.echo(f"wrote {len(scores)} rows to {output}")
    elif json:
        from quorate.scoring.score import records_of

        typer.echo(json_text(records_of(scores)))
    else:
        typer.echo(scores.to_csv(index=False), nl=False)
    if not all_read and not may_skip(bundle):
        raise typer.Exit(1)


def _scores(bundle: Bundle, given: GivenData, asked: UncertaintyOptions) -> tuple[pd.DataFrame, bool]:
    """A row for each input, and whether all could be read; notes are printed."""
    import pandas as pd

    from quorate.scoring.inputs import read_inputs, unreadable_files
    from quorate.scoring.score import ask, scores_of, with_unreadable
    from quorate.scoring.uncertainty import uncertainty_figures

    rows = read_inputs(given.paths, bundle)
    for note in rows.notes:
        typer.echo(f"note: {given.shown(note)}", err=True)
    answers = ask(bundle, rows, uncertainty=asked.uncertainty)
    for name in answers.lost:
        typer.echo(f"member {name} failed on some rows; the predictions for these rows are made without it", err=True)
    for note in answers.notes:
        typer.echo(f"note: {note}", err=True)
    uncertainties, notes = uncertainty_figures(answers, bundle, asked)
    scores = pd.concat([scores_of(answers, bundle), uncertainties], axis=1)
    for note in notes:
        typer.echo(note, err=True)
    if rows.unreadable:
        scores = with_unreadable(scores, rows.unreadable)
        typer.echo(given.shown(unreadable_files(rows.unreadable, len(scores))), err=True)
    scores["input"] = scores["input"].map(given.shown)
    return scores, not rows.unreadable
