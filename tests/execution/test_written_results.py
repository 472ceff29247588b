"""Workers of Ray write their results to the store: no bytes in the events, no credentials in Ray's files."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.results import Unreachable, measure
from tests.benchmarks.results import run as train_all
from tests.execution.jobs import CNN, failures, fitted, plan_of, spooled_files
from tests.execution.jobs import run as run_here
from tests.job.test_store_faults import small_disk
from tests.object_stores import SECRET, ObjectServer

from quorate.execution.base import Policy, Session
from quorate.execution.content import Destination, SpooledFile, WrittenBlob
from quorate.execution.events import Checkpointed, Event, Fitted, Started
from quorate.execution.local import LocalExecutor
from quorate.execution.ray.pieces import Arrivals, Piece
from quorate.plan.tasks import Plan, Unit
from quorate.results.destination import StoreDestination
from quorate.results.results import Results
from quorate.store import open_store

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("ray_session")]


def run(plan: Plan, results: Results, policy: Policy | None = None) -> list[Event]:
    given = policy or Policy(checkpoint_seconds=0)
    with results.destination() as where, _opened(plan, replace(given, destination=where)) as session:
        session.submit(Unit((task,)) for task in plan.tasks)
        return list(session.events())


def _opened(plan: Plan, policy: Policy) -> AbstractContextManager[Session]:
    from quorate.execution.ray.executor import RayExecutor

    return RayExecutor(own=False).open(plan.context, policy)


def test_events_name_what_the_workers_have_written_and_no_file_of_ray_shows_the_credentials(s3: ObjectServer) -> None:
    import ray

    results, plan = Results(open_store(s3.new_store())), plan_of({"cnn": CNN})

    events = run(plan, results)

    states = [event for event in events if isinstance(event, Checkpointed)]
    assert states and all(isinstance(state.content, WrittenBlob) for state in states)
    results.keep_checkpoint(states[-1])
    assert results.checkpoint(states[-1].task)
    for event in fitted(events).values():
        assert all(isinstance(content, WrittenBlob) for content in event.files.values())
        assert "member.json" in results.files(results.keep(event))
    folder = Path(ray._private.worker._global_node.get_session_dir_path())
    told = [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert len(list((folder / "logs").iterdir())) > 3 and told == []


@pytest.mark.slow
def test_what_a_lost_attempt_has_written_is_never_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ActorDiedError

    from quorate.execution.ray.actor import Actor

    # given: a worker that Ray takes for dead while it works; it goes on and writes its result
    results, lost = Results(open_store(str(tmp_path))), []
    plan = plan_of({"heavy": {"kind": "heavy", "megabytes": 1}}, validation={"scheme": "holdout", "fraction": 0.3})
    real = Actor.next_event

    def next_event(actor: Actor) -> Event | None:
        event = real(actor)
        if isinstance(event, Fitted) and not lost:
            lost.append(event)
            raise ActorDiedError
        return event

    monkeypatch.setattr(Actor, "next_event", next_event)

    # when
    events = run(plan, results)

    # then
    (late,), (result,) = lost, fitted(events).values()
    assert [event.attempt for event in events if isinstance(event, Started)] == [1, 2]
    assert [event.status for event in failures(events)] == ["lost"]
    assert late is not result and results.find(plan.tasks[0]) is None, "only the driver commits"
    kept = results.keep(result)
    assert kept.files == {name: blob.name for name, blob in result.files.items() if isinstance(blob, WrittenBlob)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("reaching", [True, False])
def test_the_driver_holds_no_result_after_it_was_handed_on(reaching: bool, tmp_path: Path) -> None:
    found = measure(tmp_path, str(tmp_path / "store"), 6, 50, reaching=reaching)

    assert found.objects == 0
    assert found.private < (20 if reaching else 60), "of 300 MB"


def away() -> Destination:
    return StoreDestination("/nowhere", "no nonce", {})


def test_large_contents_of_workers_that_do_not_reach_the_store_have_the_same_bytes(tmp_path: Path) -> None:
    plan = plan_of({"heavy": {"kind": "heavy", "megabytes": 20}})
    expected = {key: event.files for key, event in fitted(run_here(LocalExecutor(), plan)).items()}
    results = Results(open_store(str(tmp_path)))

    with _opened(plan, Policy(destination=away())) as session:
        session.submit(Unit((task,)) for task in plan.tasks)
        for event in session.events():
            if isinstance(event, Fitted):
                weights = event.files["weights.bin"]
                assert isinstance(weights, SpooledFile) and weights.size == 20 << 20
                assert results.files(results.keep(event)) == expected[event.task.key]
            del event

    assert all(results.find(task) is not None for task in plan.tasks)


@pytest.mark.chaos
def test_a_worker_that_is_killed_while_it_sends_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = plan_of({"heavy": {"kind": "heavy", "megabytes": 60}}, validation={"scheme": "holdout", "fraction": 0.3})
    (task,), add, during = plan.tasks, Arrivals.add, list[int]()

    def kill(arrivals: Arrivals, piece: Piece) -> None:
        add(arrivals, piece)
        if not during:
            during.append(spooled_files(tmp_path))
            os.kill(int(workers[-1].partition(":")[2]), signal.SIGKILL)

    monkeypatch.setattr(Arrivals, "add", kill)
    workers, open_files, sizes = list[str](), list[int](), list[int]()
    with _opened(plan, Policy(destination=away())) as session:
        session.submit([Unit((task,))])
        for event in session.events():
            if isinstance(event, Started):
                workers.append(event.worker)
                open_files.append(spooled_files(tmp_path))
            elif isinstance(event, Fitted):
                weights = event.files["weights.bin"]
                assert isinstance(weights, SpooledFile)
                sizes.append(weights.size)
                del weights
            del event

    assert during == [1], "a part had arrived"
    assert open_files == [0, 0] and len(set(workers)) == 2, "it was started again, and the part was gone"
    assert sizes == [60 << 20]
    assert spooled_files(tmp_path) == 0 and list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.chaos
def test_a_full_disk_for_temporary_files_ends_the_job_and_keeps_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quorate.execution.ray.executor import RayExecutor

    # given: a result that travels in its event, and one for which there is no room
    plan = plan_of({"small": {"kind": "heavy", "megabytes": 1}, "large": {"kind": "heavy", "megabytes": 60}})
    results = Unreachable(open_store(str(tmp_path / "store")))
    with small_disk(tmp_path / "disk", "30m"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))

        # when
        with pytest.raises(OSError) as caught:
            train_all(plan, results, RayExecutor(own=False), tmp_path)

        # then
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "disk"))
        del caught
        assert spooled_files(tmp_path / "disk") == 0
    found = {task.member for task in plan.tasks if results.find(task) is not None}
    assert found <= {"small"}
