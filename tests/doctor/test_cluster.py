"""What `quorate doctor --address` finds on a cluster, from surveys and on real clusters with and without a token."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.clusters import PORT, Host, hosts, start_cluster, start_guarded_head, wait_for_nodes
from tests.jobs import Here

from quorate.doctor.check import CheckResult
from quorate.doctor.cluster import cluster_checks
from quorate.doctor.node import NodeFacts, NodeQuestion, OpenPort, TokenFile
from quorate.doctor.survey import NodeReport, Survey

GIB = 1 << 30
VERSIONS = {"ray": "2.60.0", "quorate": "0.1.0", "torch": "2.15.0"}
FACTS = NodeFacts(
    python="3.11.7",
    versions=VERSIONS,
    token=TokenFile("/home/ray/.ray/auth_token", 0o600),
    uses_tls=True,
    shared_memory=8 * GIB,
    ports=(),
    reaches_store=True,
)
HEAD = NodeReport("one", "10.0.0.1", True, False, 4 * GIB, FACTS, "", 0.002, 0.001)
WORKER = replace(HEAD, name="two", address="10.0.0.2", is_head=False)
SOUND = Survey(
    gcs="10.0.0.1:6379",
    dashboard="127.0.0.1:8265",
    requires_token=True,
    nodes=(HEAD, WORKER),
    store="s3://store",
    store_fault="",
    tracking=(CheckResult("tracking", "ok", "answers"),),
)


def found(survey: Survey) -> dict[str, list[CheckResult]]:
    results: dict[str, list[CheckResult]] = {}
    for result in cluster_checks(survey, "3.11.9", VERSIONS):
        results.setdefault(result.what, []).append(result)
    return results


def with_worker(**facts: Any) -> Survey:
    return replace(SOUND, nodes=(HEAD, replace(WORKER, facts=replace(FACTS, **facts))))


def with_port(service: str, address: str, *, token: bool = True) -> Survey:
    port = OpenPort(service, int(address.rpartition(":")[2]), address, address.startswith("127."))
    return replace(SOUND, requires_token=token, nodes=(replace(HEAD, facts=replace(FACTS, ports=(port,))), WORKER))


def test_a_sound_cluster_has_neither_notes_nor_problems() -> None:
    results = found(SOUND)

    assert {result.level for several in results.values() for result in several} == {"ok"}
    assert results["nodes"][0].message == "2 alive: 10.0.0.1 (head), 10.0.0.2"
    assert results["clocks"][0].message == "at most 2 ms apart"
    assert "answers" in results["tracking"][0].message


def test_a_survey_is_read_as_it_was_written() -> None:
    ports = (OpenPort("GCS", 6379, "[::]:6379", False),)
    survey = replace(SOUND, nodes=(replace(HEAD, facts=replace(FACTS, ports=ports)), replace(WORKER, facts=None)))

    assert Survey.from_text(survey.to_text()) == survey


@pytest.mark.parametrize(
    ("survey", "what", "level", "words"),
    [
        (replace(SOUND, requires_token=False), "token", "problem", "everyone who reaches 10.0.0.1:6379"),
        (replace(SOUND, requires_token=None), "token", "note", "cannot be checked"),
        (with_worker(token=TokenFile("/t", 0o644)), "token file", "problem", "/t has mode 0644 on 10.0.0.2"),
        (with_worker(uses_tls=False), "TLS", "problem", "off on 10.0.0.2, and on at 10.0.0.1 (head)"),
        (with_worker(python="3.12.1"), "Python", "problem", "3.12.1 on 10.0.0.2, 3.11.9 here"),
        (with_worker(versions={**VERSIONS, "ray": "2.61.0"}), "ray", "problem", "ray 2.61.0 on 10.0.0.2, 2.60.0 here"),
        (with_worker(versions={**VERSIONS, "torch": None}), "torch", "problem", "no torch on 10.0.0.2"),
        (with_worker(versions={**VERSIONS, "torch": "2.14.0"}), "torch", "note", "differ in their last bits"),
        (with_worker(versions={**VERSIONS, "quorate": None}), "quorate", "note", "no quorate on 10.0.0.2"),
        (with_worker(shared_memory=64 << 20), "object store", "note", "4.0 GiB on 10.0.0.2, /dev/shm 64.0 MiB"),
        (with_worker(reaches_store=False), "store", "note", "s3://store is not reached by 10.0.0.2"),
        (replace(SOUND, store_fault="no such bucket"), "store", "problem", "no such bucket"),
        (replace(SOUND, nodes=(HEAD, replace(WORKER, clock=-61.0))), "clocks", "problem", "10.0.0.1 (head) is 61.0 s"),
        (replace(SOUND, nodes=(HEAD, replace(WORKER, clock=9.0, uncertainty=8.5))), "clocks", "ok", "9,000 ms"),
        (replace(SOUND, nodes=(HEAD, replace(WORKER, is_draining=True, facts=None))), "nodes", "note", "is draining"),
        (replace(SOUND, nodes=(HEAD, replace(WORKER, facts=None, fault="no torch"))), "nodes", "problem", "no torch"),
        (replace(SOUND, dashboard=""), "dashboard", "note", "`quorate submit` needs it"),
        (with_port("dashboard", "127.0.0.1:8265"), "dashboard", "ok", "only this host"),
        (with_port("dashboard", "0.0.0.0:8265"), "dashboard", "note", "asks for the token"),
        (with_port("dashboard", "0.0.0.0:8265", token=False), "dashboard", "problem", "asks for no token"),
        (with_port("Ray Client", "10.0.0.1:10001", token=False), "Ray Client", "problem", "asks for no token"),
        (with_port("Ray Serve", "0.0.0.0:8000"), "Ray Serve", "note", "does not ask for Ray's token"),
        (with_port("GCS", "[::]:6379"), "GCS", "ok", "[::]:6379"),
    ],
)  # fmt: skip
def test_a_fault_of_a_cluster_is_found(survey: Survey, what: str, level: str, words: str) -> None:
    result = found(survey)[what][-1]

    assert result.level == level and words in result.message
    assert bool(result.fix) == (level == "problem")


def test_the_port_of_the_metrics_of_the_dashboard_is_not_taken_for_the_dashboard() -> None:
    assert "dashboard" not in found(with_port("dashboard", "0.0.0.0:44227"))


def test_of_forty_nodes_a_line_names_four() -> None:
    many = tuple(replace(WORKER, address=f"10.0.1.{number}") for number in range(40))

    assert found(replace(SOUND, nodes=many))["nodes"][0].message.endswith("10.0.1.2, 10.0.1.3, 36 more")


@pytest.mark.system
def test_the_nodes_of_a_cluster_answer_a_question(ray_session: None) -> None:
    from quorate.execution.ray.survey import ask_nodes, living_nodes, services

    (node,) = living_nodes()
    (answer,) = ask_nodes([node], NodeQuestion(None))

    assert node.is_head and not node.is_draining and answer.fault == ""
    facts = answer.answer
    assert facts is not None and facts.python == platform.python_version() and facts.reaches_store is None
    assert abs(answer.clock) < 1, "it is this machine"
    gcs = services().gcs
    assert int(gcs.rpartition(":")[2]) in {port.port for port in facts.ports if port.service == "GCS"}
    assert services().requires_token is False


# Real clusters

TOKEN = "c4" * 32


@pytest.fixture(scope="module")
def two() -> Iterator[list[Host]]:
    with hosts(2) as made:
        yield made


def examined(done: Any) -> dict[str, dict[str, str]]:
    return {result["what"]: result for result in json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_with_a_token_is_surveyed_through_its_dashboard(two: list[Host], tmp_path_factory: Any) -> None:
    head, _ = two
    (head.folder / ".ray").mkdir(mode=0o700)
    (head.folder / ".ray/auth_token").write_text(TOKEN)
    (head.folder / ".ray/auth_token").chmod(0o644)
    dashboard, here = start_guarded_head(head, TOKEN), Here(tmp_path_factory.mktemp("here"))

    done = here.command("doctor", "--address", dashboard, "--json", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)

    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    results = examined(done)
    assert results["token"]["level"] == "ok" and TOKEN not in done.stdout
    assert results["dashboard"]["level"] == "note" and "0.0.0.0:8265" in results["dashboard"]["message"]
    assert results["store"]["message"] == f"{head.folder}/quorate/.quorate/store can be written by all nodes"
    assert results["tracking"]["level"] == "ok" and results["clocks"]["level"] == "ok"
    listed = here.command("status", "--address", dashboard, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    assert listed.stdout == f"no jobs of Quorate at {dashboard}\n"
    head.signal(9)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_of_two_nodes_without_a_token_is_a_problem(two: list[Host], tmp_path_factory: Any) -> None:
    address, here = start_cluster(two), tmp_path_factory.mktemp("store")
    wait_for_nodes(two[0], 2)

    told = two[0].python(
        f"import sys; sys.argv = ['quorate', 'doctor', '--address', '{address}', '--store', '{here}', '--json']\n"
        "from quorate.cli import main\ntry: main()\nexcept SystemExit as end: print('CODE', end.code)",
        env={"RAY_AUTH_MODE": "disabled"},
    )

    text, _, code = told.partition("CODE")
    results = {result["what"]: result for result in json.loads(text)}
    assert code.strip() == "1"
    assert results["token"]["level"] == "problem" and "RAY_AUTH_MODE=token" in results["token"]["fix"]
    assert results["nodes"]["message"] == f"2 alive: {two[0].address} (head), {two[1].address}"
    assert results["dashboard"]["level"] == "note", "it was not started"
    assert f"[::]:{PORT}" in results["GCS"]["message"]
