"""What a growing job can add: mirrored features, further copies of the members with most weight, and the portfolio."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quorate.job.composition import Composition
from quorate.members.best_backbones import JoinedBackbones
from quorate.members.net_params import NetParams
from quorate.plan.identity import identity_of
from quorate.plan.portfolio import PortfolioEntry, kind_of_data, portfolio
from quorate.registry import MEMBERS
from quorate.spec import Job, MemberParams

COPY = "copy"
"""The source of a further copy of a member."""
MIRRORED = "mirrored features"
"""The source of a member that uses the features of the images and of their mirror images."""
_LONGEST = 80
"""Number of characters of a member's name that are kept in the name of an addition; a job file allows 100 in all."""


@dataclass(frozen=True)
class Addition:
    """A member with one more copy, or a new one; `label` is what the addition is called in the ensemble."""

    member: str
    label: str
    params: MemberParams
    source: str


def with_additions(job: Job, additions: Sequence[Addition]) -> Job:
    """The job with these members, as if its file had named them."""
    members = {**job.spec.members, **{one.member: one.params for one in additions}}
    return replace(job, spec=job.spec.model_copy(update={"members": members}))


class Additions:
    """Proposes additions to the ensemble of a job, the most promising first.

    The member with most weight on the features of frozen networks comes first, with the features of the mirror images
    (docs/backbones.md). Then further copies and entries of the portfolio take turns. The weight of a member says what
    its predictions are worth. The variance of a mean of k copies is 1/k of that of one, so another copy removes
    1/(k (k + 1)) of it.
    """

    def __init__(self, made: Composition) -> None:
        train, folds = made.plan.context.train, made.plan.context.folds
        self._of, self._rows = kind_of_data(train.signature), len(folds[0].train)
        self._entries = list(portfolio(train.signature, self._rows))
        self._entry_of: dict[str, PortfolioEntry] = {}
        """The entries by the names of the members that were proposed."""
        self._taken = ""
        """The source of the addition that was taken last."""
        self._useless: set[str] = set()
        """Members of which a further copy brought nothing."""
        self._mirrored = False
        """Whether mirrored features were tried."""

    def proposals(self, made: Composition) -> Iterator[Addition]:
        """The additions that were not taken yet."""
        if not self._mirrored:
            yield from _with_mirrored_features(made)
        sources = [self._copies(made), self._entries_of(made.job)]
        if self._taken == COPY:
            sources.reverse()
        for pair in itertools.zip_longest(*sources):
            yield from (one for one in pair if one is not None)

    def take(self, addition: Addition) -> None:
        """Note that an addition is trained: then the other source has its turn, and an entry is not proposed again."""
        if addition.source == MIRRORED:
            self._mirrored = True
            return
        self._taken = COPY if addition.source == COPY else "portfolio"
        if addition.source != COPY:
            self._entries.remove(self._entry_of[addition.member])

    def is_useless(self, addition: Addition) -> None:
        """Note that an addition brought nothing: there are no further copies of its member."""
        self._useless.add(addition.member)

    def _copies(self, made: Composition) -> Iterator[Addition]:
        """A further copy of each member whose copies differ, those that help most first."""
        weights: Mapping[str, float] = _weights(made)
        members = {name: params for name, params in made.job.spec.members.items() if name in weights}
        gains = {name: weights[name] / (one.copies * (one.copies + 1)) for name, one in members.items()}
        for name in sorted(gains, key=lambda name: -gains[name]):
            one = members[name]
            if name not in self._useless and not one.vary and _differs(one):
                params = one.model_copy(update={"copies": one.copies + 1})
                yield Addition(name, f"{name}.{params.copies}", params, COPY)

    def _entries_of(self, job: Job) -> Iterator[Addition]:
        """The entries of the portfolio that the job does not have."""
        known = [identity_of(params) for params in job.spec.members.values()]
        for entry in tuple(self._entries):
            params = self._member(entry, job)
            if identity_of(params) not in known:
                name = _free(entry.name, job)
                self._entry_of[name] = entry
                yield Addition(name, name, params, entry.source)

    def _member(self, entry: PortfolioEntry, job: Job) -> MemberParams:
        given: dict[str, Any] = entry.member(self._of, self._rows)
        kind = MEMBERS.get(given["kind"]).Params
        if self._of == "image" and issubclass(kind, NetParams):
            networks = (params for params in job.spec.members.values() if isinstance(params, NetParams))
            # what may be done to an image without changing its class is known to the author of the job only
            given |= next(({"augment": network.augment} for network in networks), {})
        params: MemberParams = kind.model_validate(given)
        return params


def _with_mirrored_features(made: Composition) -> Iterator[Addition]:
    """The member with most weight of those on frozen features, with the features of the mirror images too, unless the
    job has a member with such features."""
    weights, members = _weights(made), made.job.spec.members
    frozen = [name for name in weights if members[name].frozen_backbones]
    if not frozen or any(network.mirrored for one in members.values() for network in one.frozen_backbones):
        return
    best = max(frozen, key=lambda name: weights[name])
    networks = members[best].frozen_backbones
    both = (*networks, *(network.model_copy(update={"mirrored": True}) for network in networks))
    changed = {"features": JoinedBackbones(of=both), "copies": 1, "vary": {}}
    name = _free(f"{best[:_LONGEST]}-mirrored", made.job)
    yield Addition(name, name, members[best].model_copy(update=changed), MIRRORED)


def _differs(params: MemberParams) -> bool:
    """Whether copies of a member differ, and can be added without training the first ones again: the number of packed
    copies is part of their keys."""
    kind = MEMBERS.get(params.kind)
    return kind.seeded and not kind.packs


def _weights(made: Composition) -> dict[str, float]:
    """The sum of the weights of each member's copies and views; without members that have no weight."""
    names = {task.label: task.member for task in made.plan.tasks}
    weights: dict[str, float] = defaultdict(float)
    for label, weight in zip(made.plan.labels, made.ensemble.combination.weights, strict=True):
        if weight > 0:
            weights[names[label]] += float(weight)
    return dict(weights)


def _free(name: str, job: Job) -> str:
    """The name, or the name with a number if the job has such a member already."""
    names = (name, *(f"{name}-{number}" for number in range(2, len(job.spec.members) + 3)))
    return next(one for one in names if one not in job.spec.members)
