"""The memory of a driver whose tasks return large results: `python -m tests.benchmarks.results`.

The tasks run on a Ray of this machine, first with workers that reach the store, then with workers that do not, whose
bytes go through the driver. The private memory of the driver is its own; the shared memory is that of Ray's object
store, as far as the driver has read from it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from tests.benchmarks import heavy_member  # noqa: F401  (registers a kind)
from tests.execution.jobs import plan_of

from quorate.execution.base import Executor
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.outages import StoreOutages
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession
from quorate.job.tracker import Tracker
from quorate.job.training import Trainer, train
from quorate.plan.tasks import Plan, Unit
from quorate.report.progress import Screen
from quorate.results.destination import StoreDestination
from quorate.results.results import Results
from quorate.runs.folder import RunFolder
from quorate.runs.logs import RunLogs
from quorate.spec import file as jobfile
from quorate.spec import job as spec
from quorate.store import open_store
from quorate.tracking.journal import Journal

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--store", help="default: a temporary folder")
    chosen = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2 << 30)
    for reaching in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(
                Path(folder), chosen.store or f"{folder}/store", chosen.tasks, chosen.megabytes, reaching=reaching
            )
        way = "workers write to the store" if reaching else "bytes go through the driver"
        print(f"{chosen.tasks} tasks x {chosen.megabytes} MB, {way}: {found}", flush=True)
    ray.shutdown()


@dataclass(frozen=True)
class DriverMemory:
    """Megabytes of the driver above its start, at most, at most without Ray's shared memory, and at the end."""

    most: float
    private: float
    at_end: float
    objects: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"driver at most {self.most:.0f} MB above its start ({self.private:.0f} MB private), "
            f"{self.at_end:.0f} MB at the end; {self.objects} results pinned; {self.seconds:.0f} s"
        )


class Unreachable(Results):
    """Results in a store that workers do not find."""

    def destination(self) -> AbstractContextManager[StoreDestination]:
        return contextlib.nullcontext(StoreDestination(self._store.address, "no nonce", {}))


def measure(folder: Path, store: str, tasks: int, megabytes: int, *, reaching: bool) -> DriverMemory:
    """Train `tasks` members of `megabytes`, and watch this process; Ray must have been started."""
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"heavy": {"kind": "heavy", "megabytes": megabytes, "copies": -(-tasks // 2)}})
    results = (Results if reaching else Unreachable)(open_store(store))
    begun = time.monotonic()
    with watched() as peak:
        objects = run(plan, results, RayExecutor(own=False), folder)
    assert all(results.size(fit) > megabytes << 20 for fit in map(results.find, plan.tasks) if fit is not None)
    most, private, at_end = (value / 1e6 for value in peak)
    return DriverMemory(most, private, at_end, objects, time.monotonic() - begun)


def run(plan: Plan, results: Results, executor: Executor, folder: Path) -> int:
    """Run all tasks; return the number of references to objects of more than a megabyte after the last one."""
    import ray
    from ray._private.internal_api import memory_summary

    job = spec.validate(jobfile.parse("data: digits\nmembers: {a: svm}\n", name="job.yaml"), base=folder)
    run_folder, console = RunFolder.create(folder / "runs", job), Console(file=io.StringIO())
    work, stop = JobProgress(), StopRequest()
    tracker = Tracker(Journal(run_folder.path / "journal.jsonl"), job.spec, plan, run=run_folder.name)
    with JobSession(stop) as session:
        place = Workplace("local", None, lambda opened: None)
        outages = StoreOutages(console.print, stopping=lambda: stop.requested)
        logs = RunLogs(run_folder.path)
        trainer = Trainer(job, place, results, tracker, logs, Screen(console, console), stop, session, outages)
        train([Unit((task,)) for task in plan.tasks], plan, work, executor, trainer)
        summary = memory_summary(ray.get_runtime_context().gcs_address)
    assert len(work.fits) == len(plan.tasks), console.file
    sizes = re.findall(r"([0-9.]+) B +\| (?:LOCAL_REF|PINNED|USED_BY|CAPTURED)", summary)
    assert sizes, "the data of the job are always there"
    return sum(float(size) > 1e6 for size in sizes)


@contextlib.contextmanager
def watched() -> Iterator[list[float]]:
    """A list that gets the peaks of all and of private bytes above the start, and all bytes at the end."""
    here, over, peak = psutil.Process(), threading.Event(), [0.0, 0.0, 0.0]

    def memory() -> tuple[float, float]:
        found = here.memory_info()
        return found.rss, found.rss - found.shared

    start = memory()

    def watch() -> None:
        while not over.wait(0.01):
            for place, value in enumerate(memory()):
                peak[place] = max(peak[place], value - start[place])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak[2] = memory()[0] - start[0]


if __name__ == "__main__":
    main()
