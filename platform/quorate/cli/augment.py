"""`quorate augment`: draw training images with a member's augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from quorate.spec import Job


def augment(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)],
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="A network of the job.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The picture to write: .png, .jpg, .pdf or .svg.")
    ] = Path("augment.png"),
    rows: Annotated[int, typer.Option(min=1, max=64, help="Number of images.")] = 8,
    draws: Annotated[int, typer.Option(min=1, max=32, help="Number of augmented draws per image.")] = 6,
    tta: Annotated[bool, typer.Option("--tta", help="Show the passes of test-time augmentation instead.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a value, e.g. members.cnn.augment.crop=2; repeatable."
        ),
    ] = None,
) -> None:
    """Draw training images next to augmented versions of them."""
    from quorate.errors import UserError
    from quorate.plan.opening import open_data
    from quorate.report.contact_sheet import FORMATS, contact_sheet
    from quorate.spec import load_job

    if output.suffix.lower() not in FORMATS:
        raise UserError(f"cannot draw {output}; the file name must end with one of {', '.join(FORMATS)}")
    job = load_job(job_file, override or [])
    params, chosen = _chosen(job, member, tta=tta)
    data = open_data(job).train
    if data.signature.kind != "image":
        raise job.error((("members", member), f"augmentation requires images; the training data are {data.signature}"))
    try:
        (chosen.augment if tta else chosen).check(data.signature.shape)
    except ValueError as error:
        raise job.error((("members", member), f"{'tta.augment' if tta else 'augment'}.{error}")) from None
    try:
        contact_sheet(output, data, chosen, member=member, rows=rows, draws=draws, size=params.size, seed=job.spec.seed)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    typer.echo(f"{output}: {min(rows, len(data))} training images with the augmentation of {member}")


def _chosen(job: Job, name: str, *, tta: bool) -> tuple[Any, Any]:
    """The member's parameters and its augmentation (with `tta`, its test-time augmentation); raises `UserError`."""
    from quorate.errors import UserError, did_you_mean
    from quorate.members.net_params import NetParams

    members = job.spec.members
    if name not in members:
        choices = list(members)
        raise UserError(
            f"the job has no member {name!r}{did_you_mean(name, choices)} (choose from {', '.join(choices)})"
        )
    params = members[name]
    if not isinstance(params, NetParams):
        fitting = [other for other, its in members.items() if isinstance(its, NetParams)]
        fix = f"choose {' or '.join(fitting)}" if fitting else "this job has no network"
        raise job.error(
            (("members", name), f"only networks use augmentation, and this member is of kind {params.kind}; {fix}")
        )
    chosen = params.tta if tta else params.augment
    if not chosen:
        key, example = (
            ("tta", "tta: {augment: {mirror: true}, passes: 2}") if tta else ("augment", "augment: {crop: 2}")
        )
        raise job.error((("members", name), f"{key} is not set, so there is nothing to draw; set it, e.g. `{example}`"))
    return params, chosen
