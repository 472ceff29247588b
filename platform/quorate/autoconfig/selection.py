"""Which members fit into a budget: each kind's own estimate of its cost, added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quorate.data.signature import Signature
from quorate.errors import UserError
from quorate.execution.estimates import makespan
from quorate.registry import MEMBERS

Params = Mapping[str, Any]
"""A member as the job file writes it."""

PART = 0.6
"""Of the budget that is planned for: the estimates are rough, and this machine may be slower than theirs."""
AROUND = 20.0
"""Seconds to start, to combine and to report."""
ONE_MEMBER = 0.35
"""Of the plan that one member may take in the form in which it is still worth its while."""
GPU_CORES = 20.0
"""Cores that an accelerator is taken to be worth for a network: an assumption, not a measurement."""
_EACH = 0.3
"""Seconds to hand over one fit task and to keep its result."""


@dataclass(frozen=True)
class Machine:
    """What the plan is for."""

    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class MemberCandidate:
    """A member that may be in the job, in several forms, the best first and the cheapest last."""

    name: str
    why: str
    forms: tuple[Params, ...]
    epochs: tuple[int, int] | None = None
    """The least that are worth training, and as many as are wanted; None for what has no epochs."""
    copies: int = 1
    """Most that are wanted, if there is time."""
    core: bool = False
    """Whether the job is not worth its while without it."""


@dataclass(frozen=True)
class TrainingRoom:
    """What the members are trained on, and the time for it."""

    signature: Signature
    rows: int
    """Training rows of one fold."""
    folds: int
    n_classes: int
    machine: Machine
    seconds: float
    """The budget."""

    @property
    def core_seconds(self) -> float:
        return self.longest * self.machine.cores

    @property
    def longest(self) -> float:
        """What one fit may take."""
        return max(PART * (self.seconds - AROUND), 0.2 * self.seconds)


@dataclass(frozen=True)
class ChosenMember:
    """A member of the job, with the core seconds of one fit."""

    name: str
    why: str
    params: Params
    fit_seconds: float

    @property
    def copies(self) -> int:
        return int(self.params.get("copies", 1))


@dataclass(frozen=True)
class MemberSelection:
    """The members of a job, and those for which there is no time."""

    members: tuple[ChosenMember, ...]
    left_out: tuple[ChosenMember, ...] = ()
    complete: bool = True
    """Whether all that the job needs are in it."""
    room: TrainingRoom | None = field(default=None, repr=False)

    @property
    def fits(self) -> list[float]:
        """Core seconds of every fit task."""
        folds = self.room.folds if self.room else 1
        return [chosen.fit_seconds for chosen in self.members for _ in range(folds * chosen.copies)]

    @property
    def seconds(self) -> float:
        """Until all is done, start and end included."""
        share = 1 / (self.room.machine.cores if self.room else 1)
        return AROUND + makespan([], [(seconds, share) for seconds in sorted(self.fits, reverse=True)])


def choose_team(candidates: Sequence[MemberCandidate], room: TrainingRoom) -> MemberSelection:
    """The candidates, in their order, as long as there is time; then more epochs, then more copies.

    A network is planned with a usual number of epochs, between the least and the wanted ones; those that the job needs
    may have the least. Where there is time for none, the cheapest is taken.
    """
    usual = {candidate.name: _usual(candidate, room) for candidate in candidates}
    chosen: list[tuple[MemberCandidate, ChosenMember]] = []
    left = room.core_seconds
    for candidate in candidates:
        tries = [usual[candidate.name]]
        if candidate.core and candidate.epochs:
            tries.append(_with_epochs(tries[0], candidate.epochs[0], room))
        for one in tries:
            if one.fit_seconds * room.folds <= left and one.fit_seconds <= room.longest:
                chosen.append((candidate, one))
                left -= one.fit_seconds * room.folds
                break
    names = {candidate.name for candidate, _ in chosen}
    out = tuple(usual[candidate.name] for candidate in candidates if candidate.name not in names)
    complete = not any(candidate.core and candidate.name not in names for candidate in candidates)
    if not chosen:
        cheapest = min(out, key=lambda one: one.fit_seconds)
        return MemberSelection((cheapest,), tuple(one for one in out if one is not cheapest), False, room)
    members = _more_epochs(chosen, room, left)
    left = room.core_seconds - sum(one.fit_seconds * room.folds for one in members)
    return MemberSelection(
        tuple(_more_copies([candidate for candidate, _ in chosen], members, room, left)), out, complete, room
    )


def _usual(candidate: MemberCandidate, room: TrainingRoom) -> ChosenMember:
    """The candidate in its best form that leaves time for others, with a usual number of epochs."""
    few, many = candidate.epochs or (0, 0)
    for form in candidate.forms:
        params = {**form, "epochs": round((few * many) ** 0.5)} if candidate.epochs else dict(form)
        if room.machine.gpus and candidate.epochs:
            params["gpus"] = 1
        one = ChosenMember(candidate.name, candidate.why, params, _fit_seconds(params, room))
        if one.fit_seconds * room.folds <= ONE_MEMBER * room.core_seconds:
            break
    return one


def _more_epochs(
    members: Sequence[tuple[MemberCandidate, ChosenMember]], room: TrainingRoom, left: float
) -> list[ChosenMember]:
    """The same part of the way to the wanted epochs for every network, as far as the time that is left goes."""
    networks = [(candidate.epochs[1], one) for candidate, one in members if candidate.epochs]
    more = sum(_with_epochs(one, many, room).fit_seconds - one.fit_seconds for many, one in networks) * room.folds
    part = min(1.0, left / more) if more > 0 else 0.0
    grown = []
    for candidate, one in members:
        if not candidate.epochs:
            grown.append(one)
            continue
        now, many = one.params["epochs"], candidate.epochs[1]
        grown.append(_with_epochs(one, now + int(part * (many - now)), room))
    return grown


def _with_epochs(one: ChosenMember, epochs: int, room: TrainingRoom) -> ChosenMember:
    params = {**one.params, "epochs": epochs}
    return replace(one, params=params, fit_seconds=_fit_seconds(params, room))


def _more_copies(
    candidates: list[MemberCandidate], members: list[ChosenMember], room: TrainingRoom, left: float
) -> list[ChosenMember]:
    copies = [1] * len(members)
    while True:
        added = False
        for i, (candidate, one) in enumerate(zip(candidates, members, strict=True)):
            cost = one.fit_seconds * room.folds
            if copies[i] < candidate.copies and cost <= left:
                copies[i], left, added = copies[i] + 1, left - cost, True
        if not added:
            break
    return [
        replace(one, params={**one.params, "copies": count}) if count > 1 else one
        for one, count in zip(members, copies, strict=True)
    ]


def _fit_seconds(params: Params, room: TrainingRoom) -> float:
    kind = MEMBERS.get(params["kind"])
    read = kind.Params.model_validate(params)
    try:
        cost = kind.cost(read, signature=room.signature, rows=room.rows, n_classes=room.n_classes)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{params['kind']} cannot be planned for {room.signature}: {error}") from None
    return float(cost) / (GPU_CORES if params.get("gpus") else 1.0) + _EACH
