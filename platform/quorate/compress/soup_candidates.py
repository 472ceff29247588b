"""Find the networks of a finished run whose weights can be averaged: those that started from the same weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from quorate.bundle import read_manifest
from quorate.errors import UserError, did_you_mean
from quorate.job.fits import FitRunner
from quorate.job.planning import plan_job
from quorate.members.base import HEADER
from quorate.members.net_params import NetParams
from quorate.plan.identity import identity_of
from quorate.plan.tasks import FitTask, Plan
from quorate.results.results import Results
from quorate.runs.finished import FinishedRun

MOST_REASONS = 15
"""Maximum number of reasons listed in an error message."""

Files = Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class SoupCandidate:
    """One network of the ensemble, with the files of each fold's model."""

    label: str
    task: FitTask
    """The fit of its first fold."""
    start: str
    """Identifier of the starting weights; equal if the weights are equal."""
    folds: Mapping[int, Files]

    @property
    def params(self) -> NetParams:
        assert isinstance(self.task.params, NetParams), "only networks are candidates"
        return self.task.params


@dataclass(frozen=True)
class SoupCandidates:
    """Networks that can be averaged, and the reasons why others cannot."""

    chosen: tuple[SoupCandidate, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Members that cannot be averaged, with the reasons."""


def find_candidates(run: FinishedRun, runner: FitRunner, members: Sequence[str] | None = None) -> SoupCandidates:
    """The largest group of the run's networks that can be averaged, among `members` if given.

    Raises `UserError` with the reasons if no two networks can be averaged, or if one of `members` cannot.
    """
    plan = plan_job(run.job, run.context, runner.place)
    labels = _named(plan, members) if members is not None else list(plan.labels)
    results, places = runner.results, _places(run)
    networks: list[SoupCandidate] = []
    unfit: dict[str, str] = {}
    for label in labels:
        tasks = plan.of(label)
        if not isinstance(tasks[0].params, NetParams):
            unfit[label] = f"it is not a network (kind {tasks[0].kind})"
            continue
        folds = {task.fold: files for task in tasks if (files := _files(task, results, run, places)) is not None}
        if not folds:
            unfit[label] = "its weights are neither in the store nor in the bundle of the run; run the job again"
        elif "loader" in json.loads(next(iter(folds.values()))[HEADER]):
            unfit[label] = "it was saved as ONNX, and ONNX weights cannot be averaged"
        else:
            networks.append(SoupCandidate(label, tasks[0], _start(tasks[0], run), folds))
    most = set().union(*(network.folds for network in networks))
    for network in [one for one in networks if set(one.folds) != most]:
        unfit[network.label] = f"it has models for only {len(network.folds)} of {len(most)} folds"
        networks.remove(network)
    groups: list[list[SoupCandidate]] = []
    for network in networks:
        group = next((group for group in groups if why_not(group[0], network) is None), None)
        groups.append([network]) if group is None else group.append(network)
    largest = max(groups, key=len, default=[])
    refused = members is not None and len(largest) < len(labels)
    if len(largest) < 2 or refused:
        raise UserError("\n  ".join([_nothing_to_average(run, labels, named=refused), *_reasons(networks, unfit)]))
    others = {network.label: f"it has {why_not(largest[0], network)}" for network in networks if network not in largest}
    return SoupCandidates(tuple(largest), unfit | others)


def why_not(one: SoupCandidate, other: SoupCandidate) -> str | None:
    """Why the weights of two networks cannot be averaged, as what the second has instead; None if they can."""
    a, b = one.params, other.params
    if identity_of(a.arch) != identity_of(b.arch):
        return f"another architecture ({_said(b.arch)}, not {_said(a.arch)})"
    for name in ("standardize", "size"):
        if getattr(a, name) != getattr(b, name):
            return f"another preprocessing ({name}: {getattr(b, name)}, not {getattr(a, name)})"
    if one.start != other.start:
        return "other starting weights"
    return None


def _named(plan: Plan, members: Sequence[str]) -> list[str]:
    """The members with these names; the name of a member in the job file stands for all of its copies and views."""
    found: dict[str, None] = {}
    for name in members:
        own = [name] if name in plan.labels else list(dict.fromkeys(t.label for t in plan.tasks if t.member == name))
        if not own:
            known = list(plan.labels)
            raise UserError(
                f"--members {name}: the run has no member with this name{did_you_mean(name, known)} (its members: "
                f"{', '.join(known)})"
            )
        found |= dict.fromkeys(own)
    return list(found)


def _places(run: FinishedRun) -> frozenset[str]:
    return frozenset(read_manifest(run.folder.bundle).places)


def _files(task: FitTask, results: Results, run: FinishedRun, places: frozenset[str]) -> Files | None:
    """The files of a fold model, from the store, or from the bundle if the store does not have them."""
    if (fit := results.find(task)) is not None:
        return results.files(fit)
    place = f"members/{task.label}/{task.fold}"
    if place not in places:
        return None
    folder = run.folder.bundle / place
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _start(task: FitTask, run: FinishedRun) -> str:
    """Identifier of the starting weights: the hash of a weight file, `hub`, or the copy that started from its own
    weights."""
    params = task.params
    assert isinstance(params, NetParams)
    if params.weights is None or params.pretrain is not None:
        return f"run {task.member} {task.copy}"
    if params.weights == "hub":
        return "hub"
    return hashlib.sha256(run.context.assets[str(params.weights)]).hexdigest()


def _nothing_to_average(run: FinishedRun, labels: Sequence[str], *, named: bool) -> str:
    if named:
        return f"the weights of {', '.join(labels)} cannot all be averaged; remove some from --members:"
    return (
        f"the run {run.folder.name} has no two networks whose weights can be averaged; this requires members that "
        "start from the same `weights`, or views of one member (ema, swa, snapshots):"
    )


def _reasons(networks: Sequence[SoupCandidate], unfit: Mapping[str, str]) -> list[str]:
    reasons = [f"{label}: {reason}" for label, reason in unfit.items()]
    for one, other in combinations(networks, 2):
        if (reason := why_not(one, other)) is not None:
            reasons.append(f"{one.label} and {other.label}: {other.label} has {reason}")
    more = len(reasons) - MOST_REASONS
    return [*reasons[:MOST_REASONS], *([f"and {more} more pairs"] if more > 0 else [])]


def _said(arch: Any) -> str:
    chosen = {key: value for key, value in identity_of(arch).items() if key != "kind"}
    with_ = f" with {', '.join(f'{key}: {value}' for key, value in chosen.items())}" if chosen else ""
    return f"{arch.kind}{with_}"
