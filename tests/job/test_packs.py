"""The copies of a member whose kind packs are trained in one model, also in a job."""

from __future__ import annotations

from pathlib import Path

from tests.execution.jobs import plan_of
from tests.execution.packed_members import Stack
from tests.jobs import SMALL, Here

from quorate.job.training import JobProgress, units_left
from quorate.results.results import Results
from quorate.store import open_store


def test_the_copies_of_a_kind_that_packs_are_one_unit_for_each_fold_and_their_keys_say_so(tmp_path: Path) -> None:
    stack = {"kind": "stack", "copies": 3}
    several = plan_of({"stack": stack, "varied": {**stack, "vary": {"epochs": [4, 5, 6]}}, "svm": "svm"})
    alone = plan_of({"stack": {**stack, "copies": 1}})
    results = Results(open_store(str(tmp_path / "store")))

    units = units_left(several, JobProgress(), results)

    packs = [unit for unit in units if unit.mode == "together"]
    assert [{(task.label, task.fold) for task in unit.tasks} for unit in packs] == [
        {(f"stack.{copy}", fold) for copy in (1, 2, 3)} for fold in (0, 1)
    ]
    assert all(len(unit.tasks) == 1 for unit in units if unit.mode == "sequence")
    assert len(units) == 2 + 2 * 3 + 2
    assert {task.numerics.pack for unit in packs for task in unit.tasks} == {3}
    assert {task.numerics.pack for task in several.of("svm") + several.of("varied.1") + alone.tasks} == {1}
    assert not {task.key for task in several.of("stack.1")} & {task.key for task in alone.tasks}


def test_a_job_whose_copies_are_packed_is_completed_with_the_rest_of_a_pack(tmp_path: Path) -> None:
    stack = {"kind": "stack", "copies": 3}
    job = {**SMALL, "data": {"kind": "digits", "limit": 100, "test": None}, "members": {"stack": stack}}
    whole, here = Here(tmp_path / "whole"), Here(tmp_path / "parts")
    for each in (whole, here):
        each.folder.mkdir()
    Stack.sizes.clear()
    sha = whole.run(job)["oof_sha256"]
    assert Stack.sizes == [3, 3]
    here.run(job)
    fits = sorted((here.folder / "store/fits").rglob("*.json"))
    fits[0].unlink()

    Stack.sizes.clear()
    board = here.run(job)

    assert Stack.sizes == [1]
    assert board["oof_sha256"] == sha
    assert (board["tasks"]["trained"], board["tasks"]["reused"]) == (1, 5)
