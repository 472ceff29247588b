"""What a job and a search work in: where they run and keep their work, the run folder, the journal and MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rich.console import Console

from quorate.data.decoding import Decoder
from quorate.data.stored_shards import stored_shards
from quorate.execution.base import Executor
from quorate.execution.interrupt import StopRequest
from quorate.execution.ray.early_start import StartingRay
from quorate.execution.workplace import Workplace
from quorate.job.budget import ClosingTime
from quorate.job.cluster_tags import cluster_tags
from quorate.job.tracker import Tracker
from quorate.plan.tasks import Plan
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.runs.crashes import ended_without_a_word, recorded
from quorate.runs.folder import RunFolder
from quorate.runs.place import RunsPlace
from quorate.spec import Job
from quorate.store import Lease, Store
from quorate.tracking.journal import NAME as JOURNAL
from quorate.tracking.journal import Journal
from quorate.tracking.shipper_process import Shipper, default_uri, start_shipper

_WAIT_FOR_SHIPPER = 30.0
"""Maximum number of seconds to wait until MLflow has received the last records (an assumption)."""


@dataclass(frozen=True)
class Options:
    """Where a job runs and where it keeps its work."""

    store: Store
    runs: RunsPlace
    executor: Literal["ray", "local"]
    address: str | None = None
    began: float | None = None
    """Start of the command, and so of its budget, on the clock of `time.monotonic`."""
    wait: bool = False
    """Whether to wait if another process runs the same job; otherwise `JobRunsElsewhere` is raised."""
    announce: Callable[[RunFolder], None] = lambda folder: None
    """Called with the folder of the run when it exists."""
    starting: StartingRay | None = None
    """A local Ray that is already being started; by default Ray is started when the first task needs it."""
    pictures: bool = True
    """Whether to draw the plots and write the report; false if the run folder is removed afterwards."""
    place: Workplace | None = None
    """The workplace of a job and its searches, which use it one after another; by default each opens its own."""


def workplace_of(job: Job, options: Options, console: Console, stop: StopRequest) -> AbstractContextManager[Workplace]:
    """The workplace of the job; a signal stops the work that runs there."""
    if options.place is not None:
        return nullcontext(options.place)

    def opened(executor: Executor | None) -> None:
        stop.install()  # Ray has replaced the signal handlers

    spec = job.spec.execution
    return Workplace(
        options.executor,
        options.address,
        opened,
        urgent=spec.budget is not None,
        wait_for_nodes=spec.wait_for_nodes,
        say=partial(say_note, console),
        starting=options.starting,
    )


def decoder_of(place: Workplace, store: Store, console: Console) -> AbstractContextManager[Decoder]:
    """Where pictures are decoded; the machines of a cluster share what is decoded through the store."""
    return stored_shards(place, store, partial(say_note, console)) if place.is_remote else nullcontext(place)


@contextmanager
def run_of(
    job: Job, ranking: BackboneRanking | None, options: Options, lease: Lease, console: Console, errors: Console
) -> Iterator[RunFolder]:
    """Create the folder of the run, and keep the run in its place."""
    runs = options.runs
    if (crashed := ended_without_a_word(runs.work, job.spec.name)) is not None:
        say_note(console, crashed)
    folder = runs.create(job)
    if ranking is not None:
        ranking.write(folder)
    lease.say(folder.address)
    options.announce(folder)
    with runs.kept(folder, partial(say_note, errors)), recorded(folder):
        yield folder


@contextmanager
def tracked(
    job: Job,
    plan: Plan,
    place: Workplace,
    folder: RunFolder,
    console: Console,
    closing: ClosingTime,
    stop: StopRequest,
) -> Iterator[Tracker]:
    """Open the journal of the run and start the process that sends it to MLflow; close it with the job's status."""
    tracking = job.spec.tracking
    journal = Journal(folder.path / JOURNAL, experiment=tracking.experiment)
    tracker = Tracker(journal, job.spec, plan, run=folder.name, place=cluster_tags(place))
    shipper = start_shipper(folder.path, default_uri()) if tracking.enabled else None
    try:
        yield tracker
    except BaseException:
        if stop.signum is None:
            tracker.close("FAILED")
        else:  # if the signal came from a closed terminal, writing to it fails too
            tracker.close("KILLED", exit_code=128 + stop.signum)
        raise
    tracker.close("FINISHED")
    if shipper is not None:
        _say_tracking(console, shipper, most=max(0.0, min(closing.left(), _WAIT_FOR_SHIPPER)))


def say_note(console: Console, note: str) -> None:
    console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _say_tracking(console: Console, shipper: Shipper, *, most: float) -> None:
    """Wait for the shipper while it makes progress; then print the number of unsent records.

    If the server was unreachable the last time, the job does not wait for it.
    """
    # seconds without progress; a local database is always reachable, but it can be slow
    remote = shipper.uri.startswith("http")
    still = 3.0 if remote else 10.0
    deadline, moved, pending = time.monotonic() + most, time.monotonic(), shipper.pending()
    while pending and not (remote and shipper.outage()) and time.monotonic() < min(deadline, moved + still):
        if shipper.wait(0.2):
            break
        if (now := shipper.pending()) != pending:
            moved, pending = time.monotonic(), now
    if left := shipper.pending():
        console.print(
            f"MLflow: {left} records have not reached {shipper.uri} yet; to send them later: quorate sync "
            f"{shipper.run_folder}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for refused in shipper.refused():
        line = f"MLflow refused {refused.what}: {refused.reason}"
        console.print(line, style="yellow", markup=False, highlight=False)
