"""MLflow servers that are down, fail or lose answers: every point of the journal arrives exactly once in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs import NET, SMALL, Here
from tests.tracking.conftest import Server
from tests.tracking.faulty_proxy import FaultyProxy
from tests.tracking.points import points_of_journal, points_of_server
from tests.tracking.runs import begin, runs_by_uid

from quorate.tracking import shipper_process
from quorate.tracking.journal import Journal

PATIENCE = 120


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_points_that_a_gateway_refused_or_whose_answers_it_lost_are_there_once(server: Server, tmp_path: Path) -> None:
    # given: a job that writes while a server behind a gateway answers
    run = tmp_path / "run"
    server.start()
    with FaultyProxy(server.uri).running() as proxy, Journal(run / "journal.jsonl") as notes:
        following = shipper_process.start_shipper(run, proxy.uri)
        begin(notes, "job")

        def write(member: str) -> None:
            begin(notes, f"job/{member}", "job")
            for step in range(200):
                notes.metrics(f"job/{member}", step, {"loss": 1 / (step + 1), "accuracy": 0.5}, timestamp_ms=step)
            notes.end(f"job/{member}", "FINISHED", 2_000)

        write("first")
        wait_until(lambda: following.pending() == 0, "the first records arrive")

        # when: the gateway loses answers, so that a run may be there or not; then it refuses; then the server is gone
        proxy.mode = "lose"
        write("second")
        wait_until(lambda: proxy.seen["lose"] >= 2, "the records are sent again after a lost answer")
        proxy.mode = "refuse"
        write("third")
        wait_until(lambda: proxy.seen["refuse"] >= 1, "the records are sent again")
        assert following.outage() != "", "the job knows that it need not wait for the server"
        proxy.mode = "pass"
        notes.end("job", "FINISHED", 3_000)
        notes.close()
        assert following.wait(PATIENCE), (run / "shipper.log").read_text()

    # then
    assert points_of_server(tmp_path / "server.db", run) == points_of_journal(run)
    assert set(points_of_journal(run).values()) == {1}
    assert set(runs_by_uid(server.uri)) == {"job", "job/first", "job/second", "job/third"}
    assert following.refused() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_job_loses_no_point_to_a_server_that_dies_hangs_and_fails(server: Server, tmp_path: Path) -> None:
    # given: a job of two networks, whose server dies in the middle
    here = Here(tmp_path)
    net = {**NET, "epochs": 400}
    here.write({**SMALL, "members": {"cnn": net, "other": {**net, "lr": 0.02}}, "tracking": {"enabled": True}})
    server.start()
    with FaultyProxy(server.uri).running() as proxy:
        job = here.start("train", "job.yaml", MLFLOW_TRACKING_URI=proxy.uri, MLFLOW_HTTP_REQUEST_TIMEOUT="2")
        wait_until(lambda: proxy.seen["pass"] > 20, "the first records arrive")
        server.stop()
        seen = proxy.seen["pass"]
        wait_until(lambda: proxy.seen["pass"] > seen, "the shipper finds no server")
        server.start()

        # when: it is back, a gateway loses answers, hangs, and refuses all until the end
        for mode in ("lose", "hang", "refuse"):
            proxy.mode = mode
            wait_until(lambda mode=mode: proxy.seen[mode] > 0, f"the shipper meets {mode}")
        out, errors = job.communicate(timeout=300)
        assert job.returncode == 0, errors
        assert "records have not reached" in out

        # then: `quorate sync` sends the rest, and a second time nothing
        proxy.mode = "pass"
        run = here.newest_run()
        sent = here.command("sync", run.name, MLFLOW_TRACKING_URI=proxy.uri)
        while sent.stdout.startswith("another shipper"):  # that of the job tries once more after the job has ended
            sent = here.command("sync", run.name, MLFLOW_TRACKING_URI=proxy.uri)
        again = here.command("sync", run.name, MLFLOW_TRACKING_URI=proxy.uri)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert again.stdout.startswith("0 records sent"), again.stdout
    points = points_of_journal(run)
    assert len(points) > 4 * 400 * 3
    assert points_of_server(tmp_path / "server.db", run) == points
    assert set(points.values()) == {1}
