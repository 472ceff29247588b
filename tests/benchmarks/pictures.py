"""What a folder of pictures costs a job: `python -m tests.benchmarks.pictures`.

Trains five networks on five folds of the flowers, twice, with different seeds. Shows how often a file was decoded, the
seconds from the placement of the first task to its first training step, part by part, and the peak memory of a worker:
resident (RSS), with shared pages divided among the processes that map them (PSS), and its own without files (private).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("QUORATE_DATA", ROOT.parent / "shared" / "data"))

COUNTER = """
import os
from PIL import ImageFile
_load = ImageFile.ImageFile.load

def _counted(self):
    if self.tile and "QUORATE_DECODED" in os.environ:
        with open(os.environ["QUORATE_DECODED"], "a") as file:
            file.write(f"{os.getpid()}\\n")
    return _load(self)

ImageFile.ImageFile.load = _counted
"""
"""The `sitecustomize` of every process: logs each picture that Pillow decodes."""

JOB = """
name: pictures
seed: {seed}
data: {{kind: image_folder, train: {train}, size: {size}}}
validation: {{scheme: kfold, folds: {folds}}}
tracking: {{enabled: false}}
members:
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, default=DATA / "flowers" / "train")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.job is not None:
        run(chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(COUNTER)
        paths = os.pathsep.join([folder, str(ROOT / "platform"), str(ROOT)])
        given = {"PYTHONPATH": paths, "QUORATE_CACHE": f"{folder}/cache", "RAY_AUTH_MODE": "disabled"}
        for job in range(chosen.jobs):
            command = [sys.executable, "-m", "tests.benchmarks.pictures", *sys.argv[1:], "--job", str(job)]
            logs = {"QUORATE_DECODED": f"{folder}/decoded{job}", "QUORATE_TIMES": f"{folder}/times{job}"}
            subprocess.run(command, env={**os.environ, **given, **logs}, cwd=folder, check=True)
            show(f"{folder}/decoded{job}", job)


def run(chosen: argparse.Namespace) -> None:
    """Run one job in this process, with its workers on a local Ray."""
    from rich.console import Console
    from tests.benchmarks import timed_net  # noqa: F401  (registers a kind)

    from quorate.execution.interrupt import StopRequest
    from quorate.execution.ray.actor_pool import ActorPool
    from quorate.job.run import Options, run_job
    from quorate.runs.place import FolderRuns
    from quorate.spec import load_job
    from quorate.store import open_store

    text = JOB.format(seed=chosen.job, train=chosen.train, size=chosen.size, folds=chosen.folds)
    net = "{kind: timed_net, arch: {kind: mlp, hidden: [8]}, epochs: 2, batch_size: 64, augment: {mirror: true}}"
    Path(f"job{chosen.job}.yaml").write_text(text + "".join(f"  m{i}: {net}\n" for i in range(chosen.members)))
    placed: list[float] = []
    begin = ActorPool.begin

    def begin_and_note(self, actor, assignments):  # type: ignore[no-untyped-def]
        placed.append(time.time())
        begin(self, actor, assignments)

    ActorPool.begin = begin_and_note  # type: ignore[method-assign]
    peaks = Peaks()
    started = time.time()
    store = open_store(f"store{chosen.job}")
    options = Options(store, FolderRuns(Path("runs")), "ray", pictures=False)
    job = load_job(Path(f"job{chosen.job}.yaml"))
    board = run_job(job, options, console=Console(quiet=True), stop=StopRequest())
    ended = time.time()
    peaks.stop()
    print(
        f"job {chosen.job + 1}: {board.tasks.trained} fit tasks, {ended - started:.1f} s; first task placed after "
        f"{placed[0] - started:.1f} s"
    )
    show_start(placed[0])
    print(f"  {'peak, MB':<12}{'RSS':>8}{'PSS':>8}{'private':>9}")
    for name, (rss, pss, own) in sorted(peaks.most.items()):
        print(f"  {name:<12}{rss / 1e6:>8.0f}{pss / 1e6:>8.0f}{own / 1e6:>9.0f}")
    print(f"  {'all workers':<12}{'':>8}{peaks.together / 1e6:>8.0f}", flush=True)


def show_start(placed: float) -> None:
    """Print what the worker of the first step did until then: seconds since the first placement, and its own seconds of
    a processor, which do not depend on how busy the machine is."""
    lines = [line.split() for line in Path(os.environ["QUORATE_TIMES"]).read_text().splitlines()]
    pid = next(line[1] for line in lines if line[3] == "step")
    print(f"  {'first step':<12}{'s after':>8}{'CPU s':>8}")
    for what in ("imported", "fit", "step"):
        at, _, used, _ = next(line for line in lines if line[1] == pid and line[3] == what)
        print(f"  {what:<12}{float(at) - placed:>8.1f}{float(used):>8.1f}")


class Peaks:
    """The peak memory of this process and of the workers below it, in bytes, read ten times a second."""

    def __init__(self) -> None:
        self.most: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
        self.together = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        driver = psutil.Process()
        while not self._over.wait(0.1):
            workers = 0
            for process in [driver, *driver.children(recursive=True)]:
                try:
                    title = " ".join(process.cmdline()[:1])
                    if process.pid != driver.pid and not title.startswith("ray::"):
                        continue
                    found = process.memory_full_info()
                except (psutil.Error, OSError):
                    continue
                name = "driver" if process.pid == driver.pid else "worker"
                workers += found.pss * (name == "worker")
                self.most[name] = tuple(map(max, self.most[name], (found.rss, found.pss, anonymous(process.pid))))  # type: ignore[assignment]
            self.together = max(self.together, workers)


def anonymous(pid: int) -> int:
    """The resident bytes of a process that are not of a file: pages of shards are not among them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon")), 0)


def show(decoded: str, job: int) -> None:
    lines = Path(decoded).read_text().splitlines() if Path(decoded).exists() else []
    print(f"job {job + 1}: {len(lines):,} pictures decoded in {len(set(lines))} processes", flush=True)


if __name__ == "__main__":
    main()
