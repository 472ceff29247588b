"""Run many schedules, one after another, in one world."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.driver import Digests
from tests.chaos.injector import Outcome, run_job
from tests.chaos.schedule import Schedule, draw
from tests.chaos.world import world
from tests.jobs import Here


def undisturbed(job: dict[str, Any], folder: Path) -> Digests:
    """The digests of the job, trained in this process without Ray."""
    folder.mkdir()
    here = Here(folder)
    local = {**job["execution"], "executor": "local"}
    here.run({**job, "execution": local, "tracking": {"enabled": False}})
    return Digests.of(here.newest_run())


def outcomes(job: dict[str, Any], seeds: Iterable[int], *, seconds: float, short: bool = False) -> Iterator[Outcome]:
    """The outcomes of the schedules with these seeds, for a job that trains `seconds` if it is not disturbed.

    A world in which a job has failed is not used again.
    """
    left = [draw(seed, seconds=seconds, short=short) for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="quorate-chaos-") as name:
        folder = Path(name)
        expected = undisturbed(job, folder / "undisturbed")
        while left:
            yield from _in_one_world(job, left, folder, expected)


def _in_one_world(job: dict[str, Any], left: list[Schedule], folder: Path, expected: Digests) -> Iterator[Outcome]:
    with world() as made:
        while left:
            schedule = left.pop(0)
            outcome = run_job(made, job, schedule, folder / f"seed-{schedule.seed}", expected)
            yield outcome
            if outcome.problem:
                return
            made.repair()
