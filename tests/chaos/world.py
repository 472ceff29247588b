"""The hosts on which jobs run, with the services around them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.proxy import Proxy
from tests.clusters import GATEWAY, Host, hosts, start_head, start_node, wait_for_nodes
from tests.object_stores import ObjectServer, object_server

SITE = Path(__file__).with_name("site")


class World:
    """A head without CPUs, on which drivers run, and hosts with two CPUs each.

    Services start when the first job needs them, and end with the world.
    """

    def __init__(self, made: list[Host], folder: Path, services: contextlib.ExitStack) -> None:
        self.head, *self.others = made
        self.folder, self._services = folder, services
        self.clocks = {name: folder / f"clock of the {name}" for name in ("driver", "workers")}
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        """The processes `ray start` of the hosts, by their addresses."""
        self._server: ObjectServer | None = None

    def start(self) -> None:
        start_head(self.head, cpus=0, env=self._of_the_head)
        for number, host in enumerate(self.others, start=2):
            self.join(host)
            self._wait(number)  # two that join at the same time can block each other (seen with Ray 2.60)

    def join(self, host: Host) -> None:
        """Start Ray on a host without processes."""
        self.nodes[host.address] = start_node(host, self.address, env=self._settings)

    def restart_head(self) -> None:
        """Start the head again with what it has stored; the other nodes come back to it."""
        # `ray start` refuses while this file and a process with its address are there: it sees the other hosts' ones
        (self.head.folder / "ray/ray_current_cluster").unlink(missing_ok=True)
        start_head(self.head, cpus=0, env=self._of_the_head)

    def repair(self) -> None:
        """Start Ray on the hosts where it has ended, and wait until all have joined."""
        for host in self.others:
            if self.nodes[host.address].poll() is not None:
                host.signal(signal.SIGKILL)
                self.join(host)
        self._wait(1 + len(self.others))

    def _wait(self, count: int) -> None:
        try:
            wait_for_nodes(self.head, count, seconds=90)
        except AssertionError as error:
            logs = [(host.folder / "ray.log").read_text()[-2000:] for host in self.others]
            raise AssertionError("\n".join([str(error), *logs])) from None

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"

    @property
    def _settings(self) -> dict[str, str]:
        return {"RAY_worker_niceness": "0", **self.python("workers")}

    @property
    def _of_the_head(self) -> dict[str, str]:
        """With a store of its tables, from which a new head goes on."""
        return {**self._settings, "RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self.folder / "gcs")}

    def python(self, clock: str) -> dict[str, str]:
        """Variables with which Python on a host looks at one of the clocks."""
        path = os.pathsep.join([str(SITE), self.head.environment["PYTHONPATH"]])
        return {"PYTHONPATH": path, "CHAOS_CLOCK": str(self.clocks[clock])}

    @property
    def server(self) -> ObjectServer:
        """The object store without its proxy."""
        if self._server is None:
            self._server = self._services.enter_context(object_server(GATEWAY))
            port = urlsplit(self._server.endpoint).port
            assert port is not None
            self.store_proxy = self._services.enter_context(Proxy(GATEWAY, (GATEWAY, port)))
        return self._server

    @property
    def tracking_uri(self) -> str:
        """The address of an MLflow server behind a proxy."""
        if "tracking_proxy" not in vars(self):
            port = self._services.enter_context(_mlflow_server(self.folder))
            self.tracking_proxy = self._services.enter_context(Proxy(GATEWAY, ("127.0.0.1", port)))
        return self.tracking_proxy.url

    @property
    def store_variables(self) -> dict[str, str]:
        """The variables with which a driver finds the object store, through its proxy."""
        return {**self.server.variables, "AWS_ENDPOINT_URL": self.store_proxy.url}


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A running world of three hosts; the test is skipped where hosts cannot be made."""
    with (
        tempfile.TemporaryDirectory(prefix="quorate-chaos-") as folder,
        hosts(3) as made,
        contextlib.ExitStack() as services,
    ):
        new = World(made, Path(folder), services)
        new.start()
        yield new


@contextlib.contextmanager
def _mlflow_server(folder: Path) -> Iterator[int]:
    """The port of an MLflow server on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", "*", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log = folder / "mlflow.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
