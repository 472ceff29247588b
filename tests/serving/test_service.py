"""Starting a service: errors before Ray starts, and one service from start to Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.bundle.manifests import a_manifest
from tests.serving import quarters

from quorate.errors import UserError
from quorate.execution.ray.cluster import require_token
from quorate.serving.auth import check_exposure, digest, is_allowed, read_token
from quorate.serving.service import free_port, gpus_per_replica, servable, serve_bundle, welcome


def test_a_token_is_read_without_the_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n 0123456789abcdef \n")

    assert read_token(tmp_path / "token") == "0123456789abcdef"


def test_a_short_or_missing_token_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short")

    with pytest.raises(ValueError, match=r"has 5 characters; use at least 16, for example with `openssl"):
        read_token(tmp_path / "token")
    with pytest.raises(ValueError, match="cannot read the token file"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("Bearer 0123456789abcdef", True),
        ("bearer  0123456789abcdef", True),
        ("Bearer 0123456789abcdeF", False),
        ("Bearer", False),
        ("Basic 0123456789abcdef", False),
        ("0123456789abcdef", False),
        ("Bearer ÿ", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_exact_token_is_accepted(header: str | None, allowed: bool) -> None:
    assert is_allowed(header, digest("0123456789abcdef")) is allowed
    assert is_allowed(header, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    check_exposure(host, token=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_any_other_host_needs_a_token(host: str) -> None:
    check_exposure(host, token=True)
    with pytest.raises(ValueError, match="add --token-file FILE, or use --host"):
        check_exposure(host, token=False)


def test_a_taken_port_is_refused_before_ray_starts(model_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{port} .*choose another"):
            serve_bundle(model_folder, port=port, allow_code=True)


def test_an_open_host_without_a_token_is_refused_before_ray_starts(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="can be reached from other machines"):
        serve_bundle(model_folder, host="0.0.0.0", allow_code=True)


@pytest.mark.parametrize(
    ("device", "gpus", "replicas", "share"),
    [
        ("auto", 0, 2, 0),
        ("auto", 1, 1, 1),
        ("auto", 1, 4, 0.25),
        ("cuda", 2, 3, 0.5),
        ("auto", 8, 2, 1),
        ("cpu", 8, 2, 0),
    ],
)
def test_replicas_share_the_accelerators(device: str, gpus: int, replicas: int, share: float) -> None:
    assert gpus_per_replica(device, gpus, replicas=replicas) == share


def test_a_service_on_cuda_without_an_accelerator_is_refused() -> None:
    with pytest.raises(ValueError, match="Ray finds no accelerator; use --device cpu or --device auto"):
        gpus_per_replica("cuda", 0, replicas=1)


def test_port_zero_takes_a_free_port() -> None:
    port = free_port("127.0.0.1", 0)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    "manifest", [None, "{", "[]", '{"schema": 3}', '{"schema": 3, "job": "x", "input": {"kind": "image"}}']
)
def test_a_folder_without_a_bundle_is_refused(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)

    with pytest.raises(ValueError, match=r"is not a bundle|lacks class_names|cannot be read|has schema version None"):
        servable(tmp_path)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (('"image"', '"text"'), "unknown kind of inputs 'text'"),
        (('"uint8"', '"float32"'), "images have the type 'float32'"),
    ],
)
def test_a_bundle_for_other_inputs_is_refused(tmp_path: Path, found: tuple[str, str], said: str) -> None:
    manifest = quarters.write(tmp_path / "bundle") / "manifest.json"
    manifest.write_text(manifest.read_text().replace(*found))

    with pytest.raises(UserError, match=f"manifest.json is not the manifest of a bundle: input: .*{said}"):
        servable(manifest.parent)


def test_the_example_sends_the_token_from_its_file(model_folder: Path) -> None:
    said = welcome("http://127.0.0.1:1", servable(model_folder, allow_code=True), Path("/etc/token"))

    assert '-H "Authorization: Bearer $(cat /etc/token)"' in said


def test_the_example_of_a_table_is_a_row_that_a_shell_hands_over_unharmed() -> None:
    columns = [{"name": "it's 5 o'clock", "kind": "boolean"}, {"name": "Größe", "kind": "numeric"}]
    manifest = a_manifest(input={"kind": "table", "columns": columns, "resize": None})

    said = welcome("http://127.0.0.1:1", manifest, None)

    curl = next(line for line in said.splitlines() if line.strip().startswith("curl"))
    assert json.loads(shlex.split(curl)[-1]) == {"inputs": [{"it's 5 o'clock": False, "Größe": 0}]}
    assert "http://127.0.0.1:1/v1/metadata" in said


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_token_of_ray_is_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    if before:
        path.parent.mkdir()
        path.write_text("kept")
        path.chmod(before)

    require_token()

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "kept" if before else len(path.read_text()) == 64
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_a_service_accepts_its_own_example_and_ends_on_ctrl_c(model_folder: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from quorate.serving.service import serve_bundle;"
        f"serve_bundle(Path({str(model_folder)!r}), port=0, allow_code=True,"
        "echo=lambda text: print(text, flush=True))"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("RAY_AUTH_MODE", "RAY_ADDRESS"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        served = next(line for line in lines if "is served at" in line)
        example = next(line for line in lines if line.strip().startswith("curl"))
        url = next(word for word in served.split() if word.startswith("http"))

        assert httpx.get(f"{url}/healthz").status_code == 200
        answer = subprocess.run(example.strip(), shell=True, capture_output=True, text=True, timeout=40)
        assert '"confidence":0.25' in answer.stdout
        assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600

        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
    finally:
        process.kill()
        process.wait()
