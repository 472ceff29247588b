"""`quorate tune`: search better parameters of a member."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.clock import began
from quorate.cli.console import end_interrupted, make_console
from quorate.cli.member_arguments import JobArgument, MemberArgument, SetOption
from quorate.cli.options import (
    HubOption,
    JsonOption,
    RunsOption,
    StoreOption,
    check_cluster,
    check_executor,
    overrides_of,
    store_uri,
)

if TYPE_CHECKING:
    from quorate.runs.folder import RunFolder
    from quorate.runs.search_record import SearchRecord
    from quorate.spec import Job


def tune(
    job_file: JobArgument,
    member: MemberArgument,
    trials: Annotated[int | None, typer.Option(min=1, help="Largest number of trials. Default: 32.")] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="random, grid, sobol, tpe, gp, or a searcher of Ray Tune. Default: tpe."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="When to stop bad trials: none, asha, hyperband, median, wilcoxon or pbt."),
    ] = None,
    ensemble: Annotated[
        int | None, typer.Option(metavar="K", min=2, help="Choose K trials as members, by greedy selection.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="Time limit, e.g. 20m.")] = None,
    emit: Annotated[
        Path | None, typer.Option("--emit", metavar="FILE", help="Write a job file with the chosen trials as members.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Use the settings of the newest search of this member again.")
    ] = False,
    override: SetOption = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="ray|local", help="Where trials run. Default: execution.executor of the job file."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster. Default: start Ray on this machine.")
    ] = None,
    store: StoreOption = None,
    runs_at: RunsOption = None,
    hub: HubOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the result.")] = False,
    json: JsonOption = False,
) -> None:
    """Search better parameters of a member. Finished trials are reused, and interrupted ones continue."""
    if executor == "ray" or (address is not None and executor is None):
        check_cluster(address)  # before the imports, which take seconds
    from quorate.errors import Interrupted, UserError
    from quorate.execution.interrupt import StopRequest

    since, shown = began(), make_console(stderr=json)
    said, errors = (make_console(quiet=True), make_console(stderr=True)) if quiet else (shown, shown)
    stop = StopRequest()
    stop.install()
    given = {"trials": trials, "method": method, "scheduler": scheduler, "ensemble": ensemble}
    job = _load(job_file, member, given, override or [], executor, budget, hub, resume=resume)
    check_executor(job, address)
    if emit is not None and not emit.absolute().parent.is_dir():
        raise UserError(f"--emit {emit}: the folder {emit.absolute().parent} does not exist")
    if emit is not None and emit.resolve() == job_file.resolve():
        raise UserError(f"--emit {emit} would overwrite the job file of the search; give another name")
    from quorate.job.ensemble import JobFailed
    from quorate.job.environment import Options
    from quorate.runs.lookup import runs_place
    from quorate.search.run import run_search
    from quorate.store import open_store

    try:
        place = runs_place()
        place.check()
        options = Options(open_store(store or store_uri()), place, job.spec.execution.executor, address, since)
        record, folder = run_search(job, member, options, console=said, stop=stop, errors=errors)
    except Interrupted as interrupted:
        end_interrupted(errors, interrupted, kept="finished trials and checkpoints")
    except JobFailed as failure:
        errors.print(f"the search failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if emit is not None and record.best is not None:
        from quorate.search.emission import emit_job

        emit_job(emit, job_file, override or [], job, record)
    _show(record, folder, emit, as_json=json)
    if record.best is None:
        errors.print(_why_none(record), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def _load(
    job_file: Path,
    member: str,
    given: Mapping[str, object],
    overrides: list[str],
    executor: str | None,
    budget: str | None,
    hub: str | None,
    *,
    resume: bool,
) -> Job:
    """The job, whose member has the `search` section of the file, of the newest run, and of the options."""
    from quorate.errors import no_member
    from quorate.spec import load_job
    from quorate.spec.file import Override, read

    tree = read(job_file, overrides).tree
    members = tree.get("members")
    if isinstance(members, dict) and member not in members:
        raise no_member(member, [str(name) for name in members])
    place = f"members.{member}"
    added = [Override(text) for text in overrides]
    own = members.get(member) if isinstance(members, dict) else None
    if isinstance(own, str):  # the name of a kind alone
        added.append(Override(f"{place}={json_format.dumps({'kind': own})}"))
    if resume:
        settings = json_format.dumps(_settings(str(tree.get("name", "ensemble")), member))
        added.append(Override(f"{place}.search={settings}", "--resume"))
    elif not (isinstance(own, dict) and isinstance(own.get("search"), dict)):
        added.append(Override(f"{place}.search={{}}"))
    for name, value in given.items():
        if value is not None:
            added.append(Override(f"{place}.search.{name}={json_format.dumps(value)}", f"--{name} {value}"))
    return load_job(job_file, [*added, *overrides_of({"executor": executor, "budget": budget, "hub": hub})])


def _settings(job: str, member: str) -> object:
    """The settings of the newest search of a member; raises `RunError` if there is none."""
    from quorate.runs.errors import RunError
    from quorate.runs.folder import RunFolder
    from quorate.runs.lookup import runs_place
    from quorate.runs.search_record import NAME, SearchRecord
    from quorate.search.run import run_name

    stem, work = run_name(job, member), runs_place().work
    found = sorted(work.glob(f"{stem}-*/{NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:  # the names of other jobs and members can begin alike
        record = SearchRecord.read(RunFolder(path.parent))
        if record is not None and (record.member, record.job) == (member, run_name(job, member)):
            return record.settings
    raise RunError(f"there is no search of {member} in {work.absolute()} to resume; leave out --resume")


def _why_none(record: SearchRecord) -> str:
    """Why a search has no result."""
    problem = next((one.problem for one in record.trials if one.problem), record.ended)
    late = any(one.state == "out of time" for one in record.trials)
    remedy = "; raise the budget, or lower the number of folds or epochs" if late else ""
    return f"the search failed: no trial is complete ({problem}){remedy}"


def _show(record: SearchRecord, folder: RunFolder, emitted: Path | None, *, as_json: bool) -> None:
    from quorate.report.run_report import REPORT
    from quorate.report.search import remarks, search_table

    if as_json:
        typer.echo(record.to_text())
        return
    console = make_console()
    console.print(search_table(record))
    for line in remarks(record):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if emitted is not None and record.best is not None:
        console.print(f"wrote {emitted}: quorate train {emitted}", markup=False, highlight=False, soft_wrap=True)
    report = folder.address_of(folder.path / REPORT)
    for line in (f"report: {report}", f"run folder: {folder.address}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
