"""Workers of Ray write their results to the store: no bytes in the events, no credentials in Ray's files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.results import measure
from tests.execution.jobs import CNN, failures, fitted, plan_of
from tests.object_stores import SECRET, ObjectServer

from quorate.execution.base import Policy, Session
from quorate.execution.content import WrittenBlob
from quorate.execution.events import Checkpointed, Event, Fitted, Started
from quorate.plan.tasks import Plan, Unit
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
    assert found.private < (20 if reaching else 125), "of 300 MB"
