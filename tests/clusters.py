"""Ray clusters on one machine: hosts with their own network addresses, and a cluster that adds and removes nodes.

A host is a network namespace with one end of a veth pair; the other end is on a bridge. Making them requires root. The
hosts share the file system of this machine, except folders that are hidden from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_RUN = os.getpid() % 250
"""Distinguishes the names and addresses of test runs on the same machine; an interface has at most 15 letters."""
BRIDGE = f"qr{_RUN}-bridge"
SUBNET = f"10.77.{_RUN}"
GATEWAY = f"{SUBNET}.254"
"""The address of this machine on the bridge."""
PORT = 6379
"""The only port that the nodes of Ray's fake autoscaler join."""
_FAKE_HEAD = "f" * 51 + "00000"
"""`FAKE_HEAD_NODE_ID` of Ray, which is not imported here."""
_JOIN_SECONDS = 60


@dataclass
class Host:
    """A network namespace in which processes are started, killed, frozen, and cut off."""

    number: int
    folder: Path
    """Logs and temporary files of this host."""
    binds: dict[Path, Path] = field(default_factory=dict)
    """Folders of this machine in whose place the processes of this host see other folders."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"qr{_RUN}-h{self.number}"

    @property
    def link(self) -> str:
        """The end of its veth pair that is on the bridge."""
        return f"qr{_RUN}-v{self.number}"

    @property
    def address(self) -> str:
        return f"{SUBNET}.{self.number}"

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(self.folder)}

    def command(self, *words: str) -> list[str]:
        """The command line that runs a command on this host."""
        mounts = [shlex.join(["mount", "--bind", str(other), str(at)]) for at, other in self.binds.items()]
        inside = ["sh", "-c", " && ".join([*mounts, f"exec {shlex.join(words)}"])] if mounts else words
        return ["ip", "netns", "exec", self.name, *inside]  # it gives the command its own table of mounts

    def start(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, log: str = "ray.log"
    ) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to a file in the folder of this host."""
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                self.command(*words),
                env={**self.environment, **(env or {})},
                cwd=cwd or self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def python(self, script: str, *arguments: str, seconds: float = 120, env: Mapping[str, str] | None = None) -> str:
        """Run a script on this host and return what it prints."""
        ended = subprocess.run(
            self.command(sys.executable, "-c", script, *arguments),
            env={**self.environment, **(env or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert ended.returncode == 0, ended.stderr[-4000:]
        return ended.stdout

    def pids(self) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return [int(line) for line in found.stdout.split()]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of this host: SIGKILL kills it, SIGSTOP freezes it."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut_off(self) -> None:
        """Disconnect this host from the network."""
        _ip("link", "set", self.link, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self.link, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def why_no_hosts() -> str:
    """The reason why hosts cannot be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "hosts need the command `ip` (iproute2)"
    made = subprocess.run(["ip", "netns", "add", f"qr{_RUN}-probe"], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not permitted: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", f"qr{_RUN}-probe"], check=True)
    return ""


def require_hosts() -> None:
    """Skip the test if hosts cannot be made here."""
    if reason := why_no_hosts():
        pytest.skip(reason)


@contextlib.contextmanager
def hosts(count: int, *, hide: Path | None = None) -> Iterator[list[Host]]:
    """Hosts on one bridge; from the second on, `hide` is an empty folder on them. All are removed at the end."""
    require_hosts()
    folder = Path(tempfile.mkdtemp(prefix="qr"))  # short, because the paths of Ray's sockets are in it
    made = [Host(number, folder / str(number)) for number in range(1, count + 1)]
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for host in made:
            host.folder.mkdir()
            if hide is not None and host.number > 1:
                (host.folder / "empty").mkdir()
                host.binds[hide] = host.folder / "empty"
            _connect(host)
        yield made
    finally:
        for host in made:
            _remove(host)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _connect(host: Host) -> None:
    inner = f"qr{_RUN}-i{host.number}"
    _ip("netns", "add", host.name)
    _ip("link", "add", host.link, "type", "veth", "peer", "name", inner, "netns", host.name)
    _ip("link", "set", host.link, "master", BRIDGE, "up")
    _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", inner)
    _ip("-n", host.name, "link", "set", inner, "up")
    _ip("-n", host.name, "link", "set", "lo", "up")
    _ip("-n", host.name, "route", "add", "default", "via", GATEWAY)


def _remove(host: Host) -> None:
    if subprocess.run(["ip", "netns", "pids", host.name], capture_output=True).returncode == 0:
        deadline = time.monotonic() + 20
        while host.pids() and time.monotonic() < deadline:
            host.signal(signal.SIGKILL)
            for process in host.started:
                process.poll()
            time.sleep(0.05)
    for process in host.started:
        process.wait(10)
    subprocess.run(["ip", "link", "delete", host.link], capture_output=True)  # else it is gone only some time later
    subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)


def start_cluster(members: Sequence[Host], *, cpus: int = 2, env: Mapping[str, str] | None = None) -> str:
    """Start Ray on hosts, the first one as the head, and return the cluster's address when all have joined."""
    head, address = members[0], f"{members[0].address}:{PORT}"
    start_head(head, cpus=cpus, env=env)
    for host in members[1:]:
        start_node(host, address, cpus=cpus, env=env)
    wait_for_nodes(head, len(members))
    return address


def start_head(head: Host, *, cpus: int = 2, env: Mapping[str, str] | None = None) -> None:
    """Start the head of a cluster, or start it again, and wait until it answers."""
    (head.folder / "nodes.json").unlink(missing_ok=True)
    start_node(head, None, cpus=cpus, env=env)
    _watch(head)
    wait_for_nodes(head, 1)  # before others connect


def start_node(
    host: Host, address: str | None, *, cpus: int = 2, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start Ray on a host that joins the cluster with this address, or that is the head of a new one without it."""
    settings = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **(env or {})}
    role = ["--address", address] if address else ["--head", "--port", str(PORT), "--include-dashboard", "false"]
    words = ["start", *role, "--node-ip-address", host.address, "--num-cpus", str(cpus), "--block"]
    return host.start(_ray(), *words, "--object-store-memory", str(200 * 2**20), env=settings)


def start_guarded_head(head: Host, token: str, *, cpus: int = 2, env: Mapping[str, str] | None = None) -> str:
    """Start a head with a dashboard that requires a token, and return the address of the dashboard.

    Its home folder is that of the host, and no other token is known there.
    """
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    settings["RAY_worker_niceness"] = "0"  # its workers are not starved on a busy machine
    words = ["start", "--head", "--port", str(PORT), "--node-ip-address", head.address, "--num-cpus", str(cpus)]
    words += ["--dashboard-host", "0.0.0.0", "--block", "--object-store-memory", str(200 * 2**20)]
    head.start(_ray(), *words, env={**settings, "HOME": str(head.folder), **(env or {})})
    dashboard = f"http://{head.address}:8265"
    request = urllib.request.Request(f"{dashboard}/api/version", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + _JOIN_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=2).close()
            return dashboard
        time.sleep(0.2)
    raise AssertionError((head.folder / "ray.log").read_text()[-3000:])


def wait_for_nodes(head: Host, count: int, *, seconds: float = _JOIN_SECONDS, exactly: bool = False) -> float:
    """Wait until the cluster has at least (or exactly) this number of living nodes; returns the seconds."""
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        alive = len(alive_nodes(head))
        if alive == count or (alive > count and not exactly):
            return time.monotonic() - since
        time.sleep(0.5)
    raise AssertionError(f"after {seconds} s: {alive_nodes(head)}\n{(head.folder / 'ray.log').read_text()[-3000:]}")


_WATCH = """
import json, os, sys, time
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.exceptions import RpcError
while True:
    try:
        nodes = GcsClient(sys.argv[1]).get_all_node_info(timeout=5).values()
    except RpcError:
        nodes = []
    alive = [node for node in nodes if node.state == GcsNodeInfo.ALIVE]
    with open("nodes.new", "w") as file:
        json.dump([[node.node_manager_address, dict(node.resources_total)] for node in alive], file)
    os.replace("nodes.new", "nodes.json")
    time.sleep(0.3)
"""
"""A process that imports Ray once; it writes the living nodes to a file."""


def alive_nodes(head: Host) -> list[tuple[str, dict[str, float]]]:
    """The addresses and resources of the living nodes, at most a second ago; empty while the cluster does not
    answer."""
    file = head.folder / "nodes.json"
    found: list[tuple[str, dict[str, float]]] = json.loads(file.read_text()) if file.exists() else []
    return found


def _watch(head: Host) -> None:
    head.start(sys.executable, "-c", _WATCH, f"{head.address}:{PORT}", log="watch.log")


def start_autoscaling_cluster(head: Host, types: Mapping[str, Mapping[str, Any]], *, idle_minutes: float = 0.1) -> str:
    """Start the head (without CPUs) of a cluster whose nodes come and go, and return the cluster's address.

    `types` are `available_node_types` of Ray's autoscaler. Its fake provider starts each node as processes on the
    host of the head.
    """
    head_type = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    config = {
        **_DEFAULTS,
        "available_node_types": {"ray.head.default": head_type, **types},
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": idle_minutes,
    }
    _add_the_defaults_of_the_fake_provider(head)
    file = head.folder / "autoscaler.json"
    file.write_text(json.dumps(config))
    settings = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_CLOUD_INSTANCE_ID": _FAKE_HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _FAKE_HEAD,
    }
    words = ["start", "--head", "--block", "--port", str(PORT), "--node-ip-address", head.address, "--num-cpus", "0"]
    words += ["--include-dashboard", "false", "--autoscaling-config", str(file)]
    head.start(_ray(), *words, "--object-store-memory", str(200 * 2**20), env=settings)
    _watch(head)
    wait_for_nodes(head, 1)
    return f"{head.address}:{PORT}"


_DEFAULTS: dict[str, Any] = {
    "cluster_name": "fake",
    "max_workers": 8,
    "upscaling_speed": 100,
    "provider": {"type": "fake_multinode", "launch_multiple": True, "head_node_id": _FAKE_HEAD},
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in (
        "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
        "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
    )},
}  # fmt: skip


def _add_the_defaults_of_the_fake_provider(host: Host) -> None:
    """Let Ray find `example.yaml` of its fake provider, which its wheel lacks, without a change of the wheel."""
    import ray

    provider = Path(ray.__file__).parent / "autoscaler/_private/fake_multi_node"
    copy = host.folder / "fake_multi_node"
    shutil.copytree(provider, copy)
    (copy / "example.yaml").write_text(json.dumps(_DEFAULTS))
    host.binds[provider] = copy


def _ray() -> str:
    return str(Path(sys.executable).with_name("ray"))
