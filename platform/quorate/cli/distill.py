"""`quorate distill`: train one student network to replace an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from quorate.cli.fit_runner import AddressOption, ExecutorOption, fit_runner
from quorate.cli.network_output import OutputOption, output_folder, print_network
from quorate.cli.options import AllowCodeOption, JsonOption, RunOption, RunsOption, StoreOption
from quorate.json_text import json_text


def distill(
    student: Annotated[
        str,
        typer.Option(
            "--student",
            metavar="ARCH",
            help="The student's architecture: small_cnn, mlp, '{kind: small_cnn, width: 8}', timm/NAME.",
            show_default=False,
        ),
    ],
    run: RunOption = None,
    runs_at: RunsOption = None,
    output: OutputOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=100_000, help="Number of epochs. Default: 40.")] = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.1, max=100, help="Temperature of the teacher's and the student's probabilities in the loss."
        ),
    ] = 2.0,
    hard: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Weight w of the labels in the loss; the teacher has 1 - w. Default: 0.1, or 0.5 without views. "
            "Mixtures have no labels.",
        ),
    ] = None,
    views: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="Number of augmented views of each image, or of mixtures of each row of a table, that the ensemble "
            "predicts. 0 uses its out-of-fold probabilities.",
        ),
    ] = 10,
    plain: Annotated[
        bool, typer.Option("--plain", help="Also train the same network on the labels only, for comparison.")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the network, e.g. lr=0.1; repeatable."),
    ] = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Train one network on the predictions of a run's ensemble for the training rows, and write its bundle."""
    from quorate.runs.lookup import find_run

    folder = find_run(run)
    target = output_folder(output, folder.path / "student")
    from quorate.compress.distillation import DistillationSettings, student_job
    from quorate.compress.distillation import distill as distilled
    from quorate.runs.finished import reopen

    job = student_job(folder, arch=student, epochs=epochs, overrides=override or [])
    with fit_runner(executor, address, store, reading="reading the run") as (runner, status):

        def watch(who: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            status.update(f"{who}: epoch {epoch}/{epochs}, {_in_words(metrics)}")

        def ask(view: int, views: int) -> None:
            status.update(f"the ensemble predicts the views of the rows: {view}/{views}")

        settings = DistillationSettings(temperature=temperature, hard=hard, views=views, plain=plain)
        found = distilled(reopen(folder), job, settings, target, runner, ask=ask, watch=watch)
    if output is None:
        folder.publish()
    if json:
        typer.echo(json_text(found))
        return
    from quorate.report.one_network import distillation

    print_network(distillation(found), folder.address_of(target))


def _in_words(metrics: Mapping[str, float]) -> str:
    if "valid_loss" in metrics:
        return f"held-out loss {metrics['valid_loss']:.4f}, accuracy {metrics['valid_accuracy']:.4f}"
    return f"pretraining loss {metrics['pretrain_loss']:.4f}"
