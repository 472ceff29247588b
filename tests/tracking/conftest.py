"""MLflow stores for the tests: real SQLite files, migrated once and copied, and a real server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database; making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store in the test's own folder, which is also the working folder."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_UV_AUTO_DETECT", "false")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


class Server:
    """`mlflow server` on a loopback port; not started before `start`."""

    def __init__(self, folder: Path, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._database}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # without its eight further processes
        with (self._folder / "server.log").open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=env, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def server(migrated: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copy(migrated, tmp_path / "server.db")
    server = Server(tmp_path, tmp_path / "server.db")
    yield server
    server.stop()
