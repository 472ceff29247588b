"""Judge a cluster by its survey: what is open, what differs between its nodes, and how to fix it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from quorate.doctor.check import CheckResult
from quorate.doctor.node import NodeFacts
from quorate.doctor.survey import NodeReport, Survey
from quorate.quantities import format_bytes

MOST_SKEW = 1.0
"""Seconds between the clocks of two hosts above which a problem is reported: the journal and the timeline of a job have
times of all hosts. An assumption; NTP keeps clocks within some milliseconds."""

_NAMED = 4
"""Nodes that a line names; the others are counted."""
_MUST_AGREE = ("ray",)
"""Packages whose version must be that of the driver; Ray refuses others."""
V = TypeVar("V", bound=Hashable)


def cluster_checks(survey: Survey, python: str, versions: Mapping[str, str | None]) -> Iterator[CheckResult]:
    """What is found in a survey; `python` and `versions` are those of this machine."""
    told = [node for node in survey.nodes if node.facts is not None]
    yield from _nodes(survey.nodes)
    yield _token(survey)
    yield from _token_files(told)
    yield _tls(told)
    yield from _ports(survey, told)
    yield from _software(told, python, versions)
    yield from _object_stores(told)
    yield _store(survey, told)
    yield from survey.tracking
    yield from _clocks(told)


def _nodes(nodes: Sequence[NodeReport]) -> Iterator[CheckResult]:
    yield CheckResult("nodes", "ok", f"{len(nodes)} alive: {_listed(nodes)}")
    for node in nodes:
        if node.is_draining:
            message = f"{node} is draining: it leaves soon, and its tasks continue on other nodes"
            yield CheckResult("nodes", "note", message)
        elif node.facts is None:
            fix = "install the same packages there as on this machine, or restart the node"
            yield CheckResult("nodes", "problem", f"{node} cannot run Quorate: {node.fault}", fix)


def _token(survey: Survey) -> CheckResult:
    if survey.requires_token is None:
        return CheckResult("token", "note", f"cannot be checked: {survey.gcs} did not answer a second connection")
    if survey.requires_token:
        return CheckResult("token", "ok", "the cluster requires one")
    return CheckResult(
        "token",
        "problem",
        f"the cluster requires none: everyone who reaches {survey.gcs} can run code on all nodes",
        "put the same random ~/.ray/auth_token (mode 0600) on all nodes, and start them again with RAY_AUTH_MODE=token "
        "(cluster/README.md, Security)",
    )


def _token_files(nodes: Sequence[NodeReport]) -> Iterator[CheckResult]:
    def readable(facts: NodeFacts) -> tuple[str, int] | None:
        return (facts.token.path, facts.token.mode) if facts.token is not None and facts.token.mode & 0o077 else None

    for found, where in _by(nodes, readable).items():
        if found is not None:
            path, mode = found
            message = f"{path} has mode {mode:04o} on {_listed(where)}: other users can read the token and run code"
            yield CheckResult("token file", "problem", message, f"chmod 600 {path} on these nodes")
        elif files := [node for node in where if node.facts is not None and node.facts.token is not None]:
            yield CheckResult("token file", "ok", f"only its owner can read it on {_listed(files)}")


def _tls(nodes: Sequence[NodeReport]) -> CheckResult:
    found = _by(nodes, lambda facts: facts.uses_tls)
    if False not in found:
        return CheckResult("TLS", "ok", "Ray encrypts the traffic between the nodes")
    if True not in found:
        message = (
            "off: whoever can listen on the network reads the token and the data; use a private network, or TLS "
            "(cluster/README.md, Security)"
        )
        return CheckResult("TLS", "note", message)
    message = f"off on {_listed(found[False])}, and on at {_listed(found[True])}"
    return CheckResult("TLS", "problem", message, "set RAY_USE_TLS=1 and the certificates on all nodes")


def _ports(survey: Survey, nodes: Sequence[NodeReport]) -> Iterator[CheckResult]:
    """What listens where; the dashboard has a second port, for its metrics."""
    dashboard = int(survey.dashboard.rpartition(":")[2] or 0)
    gcs = int(survey.gcs.rpartition(":")[2])
    if not dashboard:
        yield CheckResult("dashboard", "note", "not started; `quorate submit` needs it (--include-dashboard=true)")
    by_service: dict[str, list[str]] = defaultdict(list)
    exposed: set[str] = set()
    for node in nodes:
        for port in node.facts.ports if node.facts is not None else ():
            if port.port not in {"dashboard": (dashboard,), "GCS": (gcs,)}.get(port.service, (port.port,)):
                continue
            by_service[port.service].append(port.address + ("" if node.is_head else f" of {node}"))
            exposed |= set() if port.is_local else {port.service}
    for service, places in by_service.items():
        where = f"listens on {', '.join(dict.fromkeys(places))}"
        if service not in exposed:
            yield CheckResult(service, "ok", f"{where}, which only this host reaches")
        else:
            yield _exposed(service, where, survey.requires_token)


def _exposed(service: str, where: str, token: bool | None) -> CheckResult:
    """A service that other hosts reach. If the cluster requires no token at all, another line says so."""
    if service == "Ray Serve":
        message = f"{where}, and does not ask for Ray's token; `quorate serve` has a token of its own"
        return CheckResult(service, "note", message)
    if service == "GCS":
        return CheckResult(service, "ok", f"{where}, as the nodes need it")
    advice = {
        "dashboard": "start the head with --dashboard-host 127.0.0.1, and reach it with "
        "`ssh -L 8265:127.0.0.1:8265 HEAD` or a proxy with TLS",
        "Ray Client": "Quorate does not need it; to close it, start the head with --ray-client-server-port 0",
    }[service]
    if token:
        return CheckResult(service, "note", f"{where}; it asks for the token. Safer: {advice}")
    return CheckResult(service, "problem", f"{where}; it asks for no token", advice)


def _software(nodes: Sequence[NodeReport], python: str, versions: Mapping[str, str | None]) -> Iterator[CheckResult]:
    agrees = True
    for there, where in _by(nodes, lambda facts: facts.python).items():
        if there.split(".")[:2] != python.split(".")[:2]:
            agrees = False
            fix = "use the same Python on all machines"
            yield CheckResult("Python", "problem", f"{there} on {_listed(where)}, {python} here", fix)
    for name, here in versions.items():
        for found, where in _by(nodes, lambda facts, name=name: facts.versions.get(name)).items():  # type: ignore[misc]
            if found == here:
                continue
            agrees = False
            yield _difference(name, found, here, _listed(where))
    if agrees:
        shown = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        yield CheckResult("software", "ok", f"as here on {_listed(nodes)}: Python {python}, {shown}")


def _difference(name: str, there: str | None, here: str | None, where: str) -> CheckResult:
    found = f"{name} {there}" if there else f"no {name}"
    message = f"{found} on {where}, {here or 'none'} here"
    if name == "quorate":
        return CheckResult(
            name, "note", f"{message}; a job uses the version that starts it, unless --image-has-package"
        )
    if there is None:
        return CheckResult(name, "problem", message, f"install {name} {here} there")
    if name in _MUST_AGREE:
        return CheckResult(name, "problem", message, "install the same version on all machines")
    return CheckResult(name, "note", f"{message}; results can differ in their last bits")


def _object_stores(nodes: Sequence[NodeReport]) -> Iterator[CheckResult]:
    def sizes(node: NodeReport) -> tuple[int, int]:
        return node.object_store, 0 if node.facts is None else node.facts.shared_memory

    groups: dict[tuple[int, int], list[NodeReport]] = defaultdict(list)
    for node in nodes:
        groups[sizes(node)].append(node)
    for (size, room), where in groups.items():
        message = f"{format_bytes(size)} on {_listed(where)}, /dev/shm {format_bytes(room)}"
        if room >= size:
            yield CheckResult("object store", "ok", message)
        else:
            more = "Ray keeps objects in /tmp, which is slower; in Docker, set --shm-size, or --object-store-memory"
            yield CheckResult("object store", "note", f"{message}: {more}")


def _store(survey: Survey, nodes: Sequence[NodeReport]) -> CheckResult:
    if survey.store_fault:
        fix = "give --store or QUORATE_STORE a store that the driver can write"
        return CheckResult("store", "problem", survey.store_fault, fix)
    found = _by(nodes, lambda facts: facts.reaches_store)
    if False not in found:
        return CheckResult("store", "ok", f"{survey.store} can be written by all nodes")
    message = (
        f"{survey.store} is not reached by {_listed(found[False])}: their results and checkpoints go through the "
        "driver; a bucket, or a disk that all nodes share, is faster"
    )
    return CheckResult("store", "note", message)


def _clocks(nodes: Sequence[NodeReport]) -> Iterator[CheckResult]:
    """The largest difference of two clocks, one of which may be that of the driver."""
    ahead = [(node.clock, node.uncertainty, str(node)) for node in nodes] + [(0.0, 0.0, "the driver")]
    first, last = min(ahead), max(ahead)
    apart, error = last[0] - first[0], first[1] + last[1]
    if apart - error > MOST_SKEW:
        message = f"that of {last[2]} is {apart:,.1f} s ahead of that of {first[2]}"
        yield CheckResult(
            "clocks", "problem", message, "synchronize the clocks of all hosts (chrony, systemd-timesyncd)"
        )
    else:
        yield CheckResult("clocks", "ok", f"at most {max(apart, error) * 1000:,.0f} ms apart")


def _by(nodes: Iterable[NodeReport], value: Callable[[NodeFacts], V]) -> dict[V, list[NodeReport]]:
    """The nodes in groups with the same value."""
    groups: dict[V, list[NodeReport]] = defaultdict(list)
    for node in nodes:
        if node.facts is not None:
            groups[value(node.facts)].append(node)
    return dict(groups)


def _listed(nodes: Sequence[NodeReport]) -> str:
    """The addresses of some nodes."""
    more = [f"{len(nodes) - _NAMED} more"] if len(nodes) > _NAMED else []
    return ", ".join(chain(map(str, nodes[:_NAMED]), more))
