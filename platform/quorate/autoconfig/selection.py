"""Select the members that fit into a budget, by the cost estimates of their kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quorate.data.signature import ImageSignature, Signature
from quorate.errors import UserError
from quorate.execution.estimates import makespan
from quorate.members.backbone import trial, vectors
from quorate.members.network_pace import Pace, as_estimated
from quorate.registry import MEMBERS

Params = Mapping[str, Any]
"""Parameters of a member, as in the job file."""

PART = 0.6
"""Fraction of the budget to plan for, because the estimates are rough and this machine may be slower. An assumption,
not a measurement."""
MAIN_PART = 0.8
"""The same for jobs whose time networks with a measured speed use: main networks, and those of a job with frozen
ones. An assumption, not a measurement."""
AROUND = 20.0
"""Seconds for startup, combining and the report. An assumption, not a measurement."""
ONE_MEMBER = 0.35
"""Maximum fraction of the planned time for one member; a member that needs more is tried in a cheaper form. An
assumption, not a measurement."""
GPU_CORES = 20.0
"""Number of cores that are as fast as one GPU for a network. An assumption, not a measurement."""
_EACH = 0.3
"""Overhead of one fit task in seconds. An assumption, not a measurement."""


def planned_seconds(budget: float, part: float = PART) -> float:
    """The seconds of a budget for which training is planned."""
    return max(part * (budget - AROUND), 0.2 * budget)


@dataclass(frozen=True)
class Machine:
    """The machine that the job is planned for."""

    cores: int
    gpus: int = 0
    pace: Pace = as_estimated
    """Corrects the estimates of networks' trainings."""


@dataclass(frozen=True)
class MemberCandidate:
    """A possible member of the job; `forms` are alternative parameters, from the best to the cheapest."""

    name: str
    why: str
    forms: tuple[Params, ...]
    epochs: tuple[int, int] | None = None
    """Minimum and desired number of epochs; None for kinds without epochs."""
    copies: int = 1
    """Maximum number of copies; more than one only if there is time."""
    core: bool = False
    """Whether the job needs this member."""
    main: bool = False
    """Whether the ensemble consists mainly of copies of this network: with a single fold, it gets as much time as it
    can use before any other member."""


@dataclass(frozen=True)
class TrainingBudget:
    """The data that members are trained on, and the time available for training."""

    signature: Signature
    rows: int
    """Number of training rows of one fold."""
    folds: int
    n_classes: int
    machine: Machine
    seconds: float
    """The budget in seconds."""
    reserved: float = 0.0
    """Core seconds for the features of frozen networks, which are computed once for all members and folds."""
    part: float = PART
    """The fraction of the budget to plan for."""

    @property
    def core_seconds(self) -> float:
        return max(0.0, self.longest * self.machine.cores - self.reserved)

    @property
    def longest(self) -> float:
        """Maximum duration of one fit task in seconds."""
        return planned_seconds(self.seconds, self.part)


@dataclass(frozen=True)
class ChosenMember:
    """A member of the job; `fit_seconds` are the core seconds of one fit task."""

    name: str
    why: str
    params: Params
    fit_seconds: float

    @property
    def copies(self) -> int:
        return int(self.params.get("copies", 1))

    def seconds(self, folds: int) -> float:
        """Core seconds of all fit tasks."""
        return self.fit_seconds * self.copies * folds


@dataclass(frozen=True)
class MemberSelection:
    """The members of a job, and the candidates for which there is no time."""

    members: tuple[ChosenMember, ...]
    left_out: tuple[ChosenMember, ...] = ()
    complete: bool = True
    """Whether all core members are included."""
    thorough: bool = True
    """Whether, in addition, the main networks have their best form and all desired epochs."""
    budget: TrainingBudget | None = field(default=None, repr=False)

    @property
    def fits(self) -> list[float]:
        """Core seconds of each fit task."""
        folds = self.budget.folds if self.budget else 1
        return [chosen.fit_seconds for chosen in self.members for _ in range(folds * chosen.copies)]

    @property
    def seconds(self) -> float:
        """Estimated duration of the job in seconds, including startup, combining and the report."""
        share = 1 / (self.budget.machine.cores if self.budget else 1)
        reserved = self.budget.reserved * share if self.budget else 0.0
        return AROUND + reserved + makespan([], [(seconds, share) for seconds in sorted(self.fits, reverse=True)])


def select_members(candidates: Sequence[MemberCandidate], budget: TrainingBudget) -> MemberSelection:
    """Take the candidates in their order while time is left; then add epochs, then copies.

    A network is planned with a number of epochs between the minimum and the desired one; core members may get the
    minimum. If no candidate fits, the cheapest one is taken.
    """
    usual = {candidate.name: _usual(candidate, budget) for candidate in candidates}
    chosen: list[tuple[MemberCandidate, ChosenMember]] = []
    left = budget.core_seconds
    for candidate in candidates:
        tries = [usual[candidate.name]]
        if candidate.core and candidate.epochs:
            tries.append(_with_epochs(tries[0], candidate.epochs[0], budget))
        for one in tries:
            fits = one.seconds(budget.folds) <= left and one.fit_seconds <= budget.longest
            if fits or _is_alone(candidate, one):
                chosen.append((candidate, one))
                left -= one.seconds(budget.folds)
                break
    names = {candidate.name for candidate, _ in chosen}
    out = tuple(usual[candidate.name] for candidate in candidates if candidate.name not in names)
    complete = not any(candidate.core and candidate.name not in names for candidate in candidates)
    if not chosen:
        cheapest = min(out, key=lambda one: one.fit_seconds)
        return MemberSelection((cheapest,), tuple(one for one in out if one is not cheapest), False, False, budget)
    members = _more_epochs(chosen, budget, left)
    left = budget.core_seconds - sum(one.seconds(budget.folds) for one in members)
    members = _more_copies([candidate for candidate, _ in chosen], members, budget, left)
    thorough = complete and all(
        _is_thorough(candidate, one) for (candidate, _), one in zip(chosen, members, strict=True) if candidate.main
    )
    return MemberSelection(tuple(members), out, complete, thorough, budget)


def _is_thorough(candidate: MemberCandidate, one: ChosenMember) -> bool:
    """Whether a network has its best form and all desired epochs."""
    best = {**candidate.forms[0], "epochs": (candidate.epochs or (0, 0))[1]}
    return all(one.params.get(key) == value for key, value in best.items())


def _is_alone(candidate: MemberCandidate, one: ChosenMember) -> bool:
    """Whether the network was planned by `_alone`."""
    return candidate.main and one.copies > 1


def _usual(candidate: MemberCandidate, budget: TrainingBudget) -> ChosenMember:
    """The candidate in the best form that leaves time for other members, with a medium number of epochs."""
    few, many = candidate.epochs or (0, 0)
    if candidate.main and budget.folds == 1 and (alone := _alone(candidate, budget)) is not None:
        return alone
    for form in candidate.forms:
        params = {**form, "epochs": round((few * many) ** 0.5)} if candidate.epochs else dict(form)
        if budget.machine.gpus and candidate.epochs:
            params["gpus"] = 1
        one = ChosenMember(candidate.name, candidate.why, params, _fit_seconds(params, budget))
        if one.fit_seconds * budget.folds <= ONE_MEMBER * budget.core_seconds:
            break
    return one


def _alone(candidate: MemberCandidate, budget: TrainingBudget) -> ChosenMember | None:
    """A copy of the network for each core, in the best form and with the most epochs that fit; None if none fits."""
    assert candidate.epochs is not None, "it is a network"
    few, many = candidate.epochs
    devices = budget.machine.gpus or budget.machine.cores
    copies = max(2, min(candidate.copies, devices))
    longest = planned_seconds(budget.seconds, MAIN_PART) / max(1.0, copies / devices)
    for form in candidate.forms:
        params = {**form, **({"gpus": 1} if budget.machine.gpus else {}), "epochs": 1}
        one = ChosenMember(candidate.name, candidate.why, params, _fit_seconds(params, budget))
        epochs = min(many, int(longest / one.fit_seconds))
        if epochs >= few:
            return _with_epochs(replace(one, params={**params, "copies": copies}), epochs, budget)
    return None


def _more_epochs(
    members: Sequence[tuple[MemberCandidate, ChosenMember]], budget: TrainingBudget, left: float
) -> list[ChosenMember]:
    """Add epochs within the remaining time; every network gets the same fraction of its desired increase."""
    networks = [
        (candidate.epochs[1], one) for candidate, one in members if candidate.epochs and not _is_alone(candidate, one)
    ]
    more = sum(_with_epochs(one, many, budget).fit_seconds - one.fit_seconds for many, one in networks) * budget.folds
    part = min(1.0, left / more) if more > 0 else 0.0
    grown = []
    for candidate, one in members:
        if not candidate.epochs or _is_alone(candidate, one):
            grown.append(one)
            continue
        now, many = one.params["epochs"], candidate.epochs[1]
        grown.append(_with_epochs(one, now + int(part * (many - now)), budget))
    return grown


def _with_epochs(one: ChosenMember, epochs: int, budget: TrainingBudget) -> ChosenMember:
    params = {**one.params, "epochs": epochs}
    return replace(one, params=params, fit_seconds=_fit_seconds(params, budget))


def _more_copies(
    candidates: list[MemberCandidate], members: list[ChosenMember], budget: TrainingBudget, left: float
) -> list[ChosenMember]:
    copies = [one.copies for one in members]
    while True:
        added = False
        for i, (candidate, one) in enumerate(zip(candidates, members, strict=True)):
            cost = one.fit_seconds * budget.folds
            if copies[i] < candidate.copies and cost <= left:
                copies[i], left, added = copies[i] + 1, left - cost, True
        if not added:
            break
    return [
        replace(one, params={**one.params, "copies": count}) if count > 1 else one
        for one, count in zip(members, copies, strict=True)
    ]


def _fit_seconds(params: Params, budget: TrainingBudget) -> float:
    kind = MEMBERS.get(params["kind"])
    read = kind.Params.model_validate(params)
    try:
        seen = budget.signature
        if read.frozen_backbones and isinstance(seen, ImageSignature):
            shape = seen.shape
            seen = vectors(sum(trial(backbone, shape).width for backbone in read.frozen_backbones))
        cost = kind.cost(read, signature=seen, rows=budget.rows, n_classes=budget.n_classes)
        cost *= budget.machine.pace(params, budget.signature)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{params['kind']} cannot be planned for {budget.signature}: {error}") from None
    return float(cost) / (GPU_CORES if params.get("gpus") else 1.0) + _EACH
