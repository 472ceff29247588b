"""`quorate submit`: start a job on a cluster from this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorate.cli.console import make_console
from quorate.cli.options import AddressOption, JsonOption, place_on_cluster, store_uri
from quorate.cli.submitted import say_end
from quorate.cli.train import load

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.execution.ray.job_server import JobServer, SubmittedJob
    from quorate.job.submission import Submission


def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)],
    address: AddressOption = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. members.cnn.epochs=3; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the job's seed.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time limit of the job on the cluster, e.g. 20m.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="The store of finished work: s3://bucket/prefix, or a folder of the head's file system."
        ),
    ] = None,
    runs: Annotated[str | None, typer.Option(metavar="URI", help="Where runs are kept, in the same way.")] = None,
    on_cluster: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="Paths in this folder are on the cluster, and not on this machine; repeatable."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Send this environment variable, for the driver and its workers; repeatable.",
        ),
    ] = None,
    image_has_package: Annotated[
        bool, typer.Option("--image-has-package", help="Use the Quorate that is installed on the cluster.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Start a job once more that is finished there.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Print the id, and do not follow the job.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show no progress; print the result when the job ends.")] = False,
    json: JsonOption = False,
) -> None:
    """Start a job on a cluster, and follow it. Ctrl-C ends only this command.

    The job file, small files that it names, your own code and Quorate itself are sent to the cluster.
    """
    from quorate.errors import UserError
    from quorate.execution.ray.dashboard import address_of, knock
    from quorate.execution.ray.job_server import JobServer

    if detach and wait:
        raise UserError("--detach does not wait, so --wait would have no effect; leave one of them out")
    variables, dashboard = _variables(env or []), address_of(address)
    places = {
        "store": place_on_cluster(store, store_uri()),
        "runs": place_on_cluster(runs, os.environ.get("QUORATE_RUNS", "")),
    }
    knock(dashboard)
    from quorate.job.sent_job import load_to_send
    from quorate.job.submission import submit

    sent = load_to_send(
        lambda lookup: load(job_file, override or [], None, seed, budget, lookup),
        **places,
        on_cluster=on_cluster or (),
    )
    if sent.job.spec.execution.executor == "local":
        raise UserError(
            "a submitted job runs on the workers of the cluster, but execution.executor is local; give "
            "--set execution.executor=ray"
        )
    said = make_console(stderr=json)
    server = JobServer(dashboard)
    done = submit(server, sent, env=variables, with_package=not image_has_package, again=again)
    _say_submitted(done, said)
    if detach:
        if json:
            typer.echo(_as_json(done.job))
        return
    _follow(server, done.job, said, quiet=wait, as_json=json)


def _variables(names: list[str]) -> dict[str, str]:
    from quorate.errors import UserError

    for name in names:
        if "=" in name:  # the value is not repeated, as it may be a secret
            raise UserError("--env takes the name of a variable of this shell, without a value: --env AWS_REGION")
        if name not in os.environ:
            raise UserError(f"--env {name}: the variable is not set in this shell")
    return {name: os.environ[name] for name in names}


def _say_submitted(done: Submission, console: Console) -> None:
    job = done.job
    if done.is_new:
        more = f"; it continues the work of {done.continues}" if done.continues else ""
        console.print(f"submitted as {job.id}{more}", highlight=False, soft_wrap=True)
    elif job.is_active:
        console.print(f"this job runs already: {job.id}", highlight=False, soft_wrap=True)
    else:
        console.print(
            f"this job is finished already: {job.id}; --again starts it once more", highlight=False, soft_wrap=True
        )


def _follow(server: JobServer, job: SubmittedJob, said: Console, *, quiet: bool, as_json: bool) -> None:
    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest
    from quorate.job.submitted_following import ended_job, follow_submitted

    stop = StopRequest()
    stop.install()
    try:
        if job.is_active:
            end = follow_submitted(server, job, make_console(quiet=True) if quiet else said, stop)
        else:
            end = ended_job(server, job)
        say_end(server, job, end, said, followed=job.is_active and not quiet, as_json=as_json)
    except Interrupted as interrupted:
        back = f"quorate submit with the same job file, or quorate status {job.id} --address {server.address}"
        said.print(f"detached; {job.id} goes on. To come back: {back}", highlight=False, soft_wrap=True)
        said.file.flush()
        sys.exit(128 + interrupted.signum)


def _as_json(job: SubmittedJob) -> Any:
    from quorate.json_text import json_text

    return json_text({"id": job.id, "state": job.state})
