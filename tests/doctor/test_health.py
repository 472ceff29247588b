"""The checks of `quorate doctor`: working parts are ok, broken parts are problems with a fix, and no check hangs."""

from __future__ import annotations

import http.server
import os
import resource
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorate.doctor import machine, services, software
from quorate.doctor.check import CheckResult, run_checks
from quorate.execution import container


def test_a_check_that_hangs_or_raises_is_a_finding_and_the_others_continue() -> None:
    over = threading.Event()

    def slow_disk() -> Iterator[CheckResult]:
        over.wait(30)
        yield CheckResult("never", "ok", "")

    def broken() -> Iterator[CheckResult]:
        yield CheckResult("half", "ok", "there")
        raise OSError("no such thing")

    def sound() -> list[CheckResult]:
        return [CheckResult("a", "ok", "1"), CheckResult("b", "ok", "2")]

    begun = time.monotonic()
    found = list(run_checks((slow_disk, broken, sound), seconds=0.3))
    over.set()

    assert time.monotonic() - begun < 5
    assert found[0].level == "problem" and found[0].what == "slow disk" and "no answer within" in found[0].message
    assert [result.what for result in found[1:]] == ["half", "broken", "a", "b"]
    assert found[2].message == "cannot be checked: OSError: no such thing"


def test_this_machine_has_cores_memory_and_versions() -> None:
    found = {result.what: result for result in (*machine.processors(), *machine.memory(), *software.versions())}

    assert found["python"].level == found["quorate"].level == "ok"
    assert found["cores"].message.split()[0] == str(len(os.sched_getaffinity(0)))
    assert {"CPU", "memory", "libraries", "OMP_NUM_THREADS"} <= set(found)
    assert "torch 2." in found["libraries"].message


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, None, None),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ({"cpu.max": "150000 100000\n", "memory.max": "2147483648\n"}, 1.5, 2 << 30),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "1073741824\n",
            },
            0.5,
            1 << 30,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
    ],
    ids=["none", "v2 without", "v2", "v1", "v1 without"],
)
def test_the_limits_of_a_container_are_read_from_either_version_of_cgroups(
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(container, "CGROUP", tmp_path)

    assert container.cpu_quota() == cores
    assert container.memory_limit() == memory


@pytest.mark.parametrize(("threads", "level"), [("1", "ok"), ("9999", "problem"), ("many", "problem")])
def test_more_threads_than_cores_are_a_problem(threads: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)

    *_, found = machine.processors()

    assert (found.what, found.level) == ("OMP_NUM_THREADS", level)
    assert bool(found.fix) == (level == "problem")


def test_a_missing_folder_is_judged_by_its_parent(tmp_path: Path) -> None:
    assert machine.disk("store", tmp_path / "not" / "yet").level == "ok"
    (tmp_path / "file").write_text("")
    found = machine.disk("store", tmp_path / "file" / "below")
    assert (found.level, found.message) == ("problem", f"{tmp_path / 'file'} cannot be written")


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_DISK", 1 << 60)

    found = machine.disk("runs", tmp_path)

    assert found.level == "problem"
    assert "quorate store collect" in found.fix


# Tracking


@pytest.fixture
def server() -> Iterator[tuple[str, list[int]]]:
    """An HTTP server that answers GET with the status that is put into the list."""
    status = [200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://somebody:secret@127.0.0.1:{listening.server_port}", status
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "level", "words"), [(200, "ok", "answers"), (401, "note", "credentials"), (500, "problem", "500")]
)
def test_a_tracking_server_is_contacted_and_its_password_is_not_shown(
    status: int, level: str, words: str, server: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, answers = server
    answers[0] = status
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    (found,) = services.tracking()

    assert found.level == level
    assert words in found.message
    assert "secret" not in found.message


def test_a_tracking_server_that_is_down_is_a_problem_and_the_records_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")

        (found,) = services.tracking()

    assert found.level == "problem"
    assert "refused" in found.message
    assert "quorate sync" in found.fix


def test_a_tracking_server_that_does_not_respond_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")

        (found,) = services.tracking()

    assert found.level == "problem"
    assert "timed out" in found.message


@pytest.mark.parametrize(("made_of", "level"), [("nothing", "ok"), ("database", "ok"), ("garbage", "problem")])
def test_a_database_file_is_opened_and_left_as_it_is(
    made_of: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    if made_of == "database":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE runs (id)")
        database.close()
    elif made_of == "garbage":
        path.write_bytes(b"this is no database" * 100)
    before = path.read_bytes() if path.exists() else None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")

    (found,) = services.tracking()

    assert (found.what, found.level) == ("tracking", level)
    assert (path.read_bytes() if path.exists() else None) == before


# Ports and the token


def test_the_process_that_listens_on_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken, free = mine.getsockname()[1], other.getsockname()[1]
        monkeypatch.setattr(services, "PORTS", {taken: ("somebody", "go elsewhere"), free: ("nobody", "")})

        first, second = services.ports()

    assert first.level == "note"
    assert first.message.startswith(f"pid {os.getpid()} (")
    assert f"listens on 127.0.0.1:{taken} (somebody; go elsewhere)" in first.message
    assert (second.level, second.message) == ("ok", "free (nobody)")


def test_a_token_that_others_may_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    levels = []
    for mode in (None, 0o600, 0o644):
        if mode is not None:
            path.touch()
            path.chmod(mode)
        (found,) = services.ray_token()
        levels.append((found.level, found.fix))

    assert levels == [("ok", ""), ("ok", ""), ("problem", f"chmod 600 {path}")]


def test_a_torch_that_does_not_import_is_a_problem_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_ASK_TORCH", "raise ImportError('undefined symbol: nms')")

    (found,) = software.torch_and_gpus()

    assert found.level == "problem"
    assert "undefined symbol: nms" in found.message
    assert "the same package index" in found.fix


def test_an_import_of_torch_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_ASK_TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(software, "IMPORT_SECONDS", 0.5)

    (found,) = software.torch_and_gpus()

    assert found.level == "problem"


@pytest.mark.parametrize(
    ("cuda", "gpus", "driver", "level"),
    [
        ("13.2", [["H100", 80 << 30]], "580.1", "ok"),
        ("13.2", [], "580.1", "problem"),
        (None, [], "580.1", "problem"),
        (None, [], None, "ok"),
    ],
)
def test_a_driver_whose_gpus_torch_does_not_see_is_a_problem(
    cuda: str | None, gpus: list[object], driver: str | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = {"cuda": cuda, "gpus": gpus, "bf16": bool(gpus)}
    monkeypatch.setattr(software, "_ASK_TORCH", f"import json; print(json.dumps({message!r}))")
    monkeypatch.setattr(software, "_driver", lambda: driver)

    torch, found = software.torch_and_gpus()

    assert torch.level == "ok"
    assert (found.what, found.level) == ("GPUs", level)


def test_a_long_tmpdir_is_a_problem_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)

    room, sockets = machine.temporary()

    assert (room.what, room.level) == ("temporary files", "ok")
    assert (sockets.what, sockets.level) == ("Ray's sockets", "problem")
    assert "RAY_TMPDIR=/tmp" in sockets.fix
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert [found.level for found in machine.temporary()] == ["ok"]


def test_a_tmpdir_with_two_dots_is_the_folder_that_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/../{tmp_path.name}")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert [(found.what, found.level) for found in machine.temporary()] == [("temporary files", "ok")]


def test_a_missing_tmpdir_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)

    (found,) = machine.temporary()

    assert found.level == "problem" and "cannot be written" in found.message


@pytest.mark.parametrize(("limit", "level"), [(48, "problem"), (1024, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_a_low_limit_of_open_files_is_a_problem(monkeypatch: pytest.MonkeyPatch, limit: int, level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, resource.RLIM_INFINITY))

    found = machine.open_files()

    assert found.level == level
    assert (level == "problem") == ("ulimit -n" in found.fix)


def test_without_a_home_folder_the_token_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", "/proc/1/no-home")

    (found,) = services.ray_token()

    assert found.level == "note" and "home folder" in found.message


def test_a_missing_extra_comes_with_a_command_that_names_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    version = software._version
    monkeypatch.setattr(software, "_version", lambda name: None if name == "xgboost" else version(name))

    found = next(each for each in software.extras() if each.what == "extra boosting")

    assert found.level == "note"
    assert "pip install" in found.message and "xgboost<4" in found.message
    assert "quorate[" not in found.message, "which is on no index"
