"""A job with a live MLflow server against the same job with a server that is down, or that never answers.

`python -m tests.benchmarks.tracking_outage` runs the three in turn, in another order each time. It prints the seconds
of the commands, the median ratios with their intervals, and what `quorate sync` sends to the live server afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.pairs import interval
from tests.tracking.conftest import Server
from tests.tracking.points import points_of_journal, points_of_server

JOB = """
name: outage
data: {kind: digits, limit: 600}
validation: {scheme: kfold, folds: 2}
members:
  cnn: {kind: net, arch: small_cnn, epochs: EPOCHS, copies: 2}
execution: {executor: EXECUTOR, workers: 1}
"""
LIVE, DOWN, SILENT = "live", "refused", "never answers"


@contextmanager
def closed_port() -> Iterator[str]:
    """The address of a port at which nothing listens."""
    with socket.socket() as held:  # bound, so that no other process gets it
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        kept: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    kept.append(listening.accept()[0])
            except OSError:  # closed
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for connection in kept:
            connection.close()


def train(folder: Path, place: Path, uri: str) -> float:
    """Run the job with a new store and new runs in `place`; returns the seconds of the command."""
    shutil.rmtree(place, ignore_errors=True)
    since = time.perf_counter()
    quorate(folder, place, uri, "train", "job.yaml", "--quiet")
    return time.perf_counter() - since


def quorate(folder: Path, place: Path, uri: str, *words: str) -> str:
    places = {"QUORATE_RUNS": f"{place}/runs", "QUORATE_STORE": f"{place}/store", "MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-m", "quorate", *words]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True)
    if done.returncode and not done.stdout.startswith("another shipper"):
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def say_points(folder: Path, place: Path, server: Server, database: Path) -> None:
    """Send what is left of the run of `place` to the live server, and compare it with the journal."""
    (run,) = (place / "runs").iterdir()
    while (sent := quorate(folder, place, server.uri, "sync", run.name).strip()).startswith("another shipper"):
        time.sleep(1)  # that of the job tries once more after the job has ended
    written, there = points_of_journal(run), points_of_server(database, run)
    lost, twice = sum((written - there).values()), sum((there - written).values())
    print(f"  {sum(written.values())} points, {lost} lost, {twice} duplicated after sync: {sent}", flush=True)


def main(pairs: int, epochs: int, executor: str) -> None:
    seconds: dict[str, list[float]] = {LIVE: [], DOWN: [], SILENT: []}
    with (
        tempfile.TemporaryDirectory(prefix="quorate-outage-") as name,
        closed_port() as down,
        silent_server() as silent,
    ):
        folder = Path(name)
        (folder / "job.yaml").write_text(JOB.replace("EPOCHS", str(epochs)).replace("EXECUTOR", executor))
        server = Server(folder, folder / "server.db")
        server.start()
        try:
            where: Mapping[str, str] = {LIVE: server.uri, DOWN: down, SILENT: silent}
            train(folder, folder / "warm-up", server.uri)
            for number in range(pairs):
                order = [*where][number % 3 :] + [*where][: number % 3]
                for kind in order:
                    place = folder / kind.replace(" ", "-")
                    seconds[kind].append(train(folder, place, where[kind]))
                    print(f"{kind}: {seconds[kind][-1]:.2f} s", flush=True)
                    say_points(folder, place, server, folder / "server.db")
        finally:
            server.stop()
    for kind in (DOWN, SILENT):
        ratios = [other / live for other, live in zip(seconds[kind], seconds[LIVE], strict=True)]
        low, high = interval(ratios)
        print(
            f"{kind} / {LIVE}: median {statistics.median(ratios):.4f}, interval [{low:.4f}, {high:.4f}] of {pairs} "
            f"pairs; median seconds {statistics.median(seconds[kind]):.2f} and {statistics.median(seconds[LIVE]):.2f}"
        )


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--pairs", type=int, default=9)
    given.add_argument("--epochs", type=int, default=170)
    given.add_argument("--executor", choices=["local", "ray"], default="local")
    options = given.parse_args()
    main(options.pairs, options.epochs, options.executor)
