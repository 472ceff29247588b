"""Let one process at a time run a job, or train the same networks for a command, with a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from quorate.execution.interrupt import StopRequest
from quorate.job.ensemble import JobFailed
from quorate.plan.half_batch import keys_of_results
from quorate.plan.identity import digest
from quorate.plan.tasks import FeatureTask, FitTask, Plan
from quorate.store import Lease, LeaseHolder, LeaseLost, Store
from quorate.store.leases import LeaseWatch


class JobRunsElsewhere(RuntimeError):
    """Another process runs the same job with the same store."""

    def __init__(self, holder: LeaseHolder, watch: LeaseWatch) -> None:
        self.holder, self.watch = holder, watch
        since = f" since {holder.since}" if holder.since else ""
        run = f"; its run is {holder.about}" if holder.about else ""
        super().__init__(f"this job runs already with this store: {holder}{since}{run}")


@contextmanager
def job_lease(
    store: Store, plan: Plan, stop: StopRequest, *, wait: bool, say: Callable[[str], None]
) -> Iterator[Lease]:
    """Hold the lease of this job.

    If another process holds it, this one waits until it is free; without `wait`, only until it is clear that the other
    process works, then `JobRunsElsewhere` is raised. Raises `JobFailed` if another process takes the lease.
    """
    name = digest(job=[task.key for task in plan.tasks])

    def waiting(holder: str) -> None:
        until = "waiting until it ends" if wait else "checking that it works"
        say(f"{holder} holds the lease of the same job in the same store; {until}")

    def busy(holder: LeaseHolder) -> None:
        stop.check()
        if not wait:
            raise JobRunsElsewhere(holder, store.watch(name, holder))

    keys = _keys(plan.tasks)
    with _held(store, name, keys, stop, waiting, busy, "start the job again to continue or to follow") as lease:
        yield lease


@contextmanager
def fits_lease(
    store: Store, tasks: Sequence[FitTask], stop: StopRequest, *, say: Callable[[str], None]
) -> Iterator[Lease]:
    """Hold the lease of these fits, outside of a job; if another process holds it, wait until it is free.

    Raises `JobFailed` if another process takes the lease.
    """

    def waiting(holder: str) -> None:
        say(f"{holder} trains the same networks with the same store; waiting until it ends")

    def busy(holder: LeaseHolder) -> None:
        stop.check()

    name = digest(fits=[task.key for task in tasks])
    with _held(store, name, _keys(tasks), stop, waiting, busy, "run the same command to continue") as lease:
        yield lease


@contextmanager
def search_lease(store: Store, identity: str, stop: StopRequest, *, say: Callable[[str], None]) -> Iterator[Lease]:
    """As `fits_lease`, of a search with this identity, whose fits are not known yet."""

    def waiting(holder: str) -> None:
        say(f"{holder} runs the same search with the same store; waiting until it ends")

    def busy(holder: LeaseHolder) -> None:
        stop.check()

    with _held(store, identity, [], stop, waiting, busy, "run the same command to continue") as lease:
        yield lease


@contextmanager
def features_lease(
    store: Store, tasks: Sequence[FeatureTask], stop: StopRequest, *, say: Callable[[str], None]
) -> Iterator[Lease]:
    """As `fits_lease`, of features."""

    def waiting(holder: str) -> None:
        say(f"{holder} computes the same features with the same store; waiting until it ends")

    def busy(holder: LeaseHolder) -> None:
        stop.check()

    keys = [task.key for task in tasks]
    with _held(store, digest(features=keys), keys, stop, waiting, busy, "run the same command to continue") as lease:
        yield lease


@contextmanager
def _held(
    store: Store,
    name: str,
    keys: Sequence[str],
    stop: StopRequest,
    waiting: Callable[[str], None],
    busy: Callable[[LeaseHolder], None],
    hint: str,
) -> Iterator[Lease]:
    try:
        with store.lease(name, waiting=waiting, busy=busy, keys=keys, lost=lambda _: stop.halt()) as lease:
            yield lease
    except LeaseLost as lost:
        raise JobFailed(
            f"it runs in another process now: {lost}. This process was suspended, or could not reach the store "
            f"{store.address}. Finished work is kept; {hint}"
        ) from lost


def _keys(tasks: Sequence[FitTask]) -> list[str]:
    return [key for task in tasks for key in keys_of_results(task)]
