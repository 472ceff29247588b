"""The first trials of a search: the member as written, then the entries of its kind in the portfolio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from quorate.members.net_params import NetParams
from quorate.plan.identity import digest, identity_of
from quorate.plan.portfolio import PortfolioEntry, kind_of_data, portfolio
from quorate.plan.tasks import JobData
from quorate.registry import MEMBERS, InvalidParams
from quorate.search.proposals import Candidate
from quorate.search.trial import trial_name
from quorate.spec import MemberParams
from quorate.spec.configuration import PLACE, configured, point_of, problem_of
from quorate.spec.space import Parameter, Point

WRITTEN = "written"
"""The source of the trial that is the member as written."""
_SHARE = 2
"""At most one in this number of the trials comes from the portfolio (an assumption)."""


def candidate_of(
    member: str, base: MemberParams, parameters: Sequence[Parameter], source: str, point: Point
) -> Candidate:
    """The trial at a point of the space; the member as written keeps its name, so that it keeps its results."""
    try:
        params = configured(base, parameters, point)
    except ValueError as error:
        return Candidate(f"{member}-{digest(point=point)[:10]}", None, source, point, problem_of(error))
    same = identity_of(params) == identity_of(base)
    return Candidate(member if same else trial_name(member, params), params, source, point)


def first_trials(
    member: str, base: MemberParams, parameters: Sequence[Parameter], data: JobData, *, trials: int, portfolio: bool
) -> list[Candidate]:
    """The trials before those of the method; the member as written is the first."""
    found = [Candidate(member, base, WRITTEN, point_of(base, parameters, base))]
    if not portfolio:
        return found[:trials]
    for entry, params in _entries(base, parameters, data):
        name = trial_name(member, params)
        if identity_of(params) != identity_of(base) and name not in {one.name for one in found}:
            found.append(Candidate(name, params, f"portfolio: {entry.name}", point_of(base, parameters, params)))
    return found[: max(1, trials // _SHARE)]


def _entries(
    base: MemberParams, parameters: Sequence[Parameter], data: JobData
) -> Iterator[tuple[PortfolioEntry, MemberParams]]:
    """The entries that this member could be, with all that they leave open as it is written.

    An entry of another kind keeps what says where the member trains (`PLACE`). A network keeps its number of epochs and
    its architecture, unless the architecture is searched. A learning rate comes with its optimizer. Entries that
    contradict the member as written are left out.
    """
    signature, rows = data.train.signature, len(data.folds[0].train)
    kinds = {kind for one in parameters if one.path == "kind" for kind in one.dimension.ends} or {base.kind}
    searched = {one.path.partition(".")[0] for one in parameters}
    for entry in portfolio(signature, rows):
        given = dict(entry.member(kind_of_data(signature), rows))
        if given["kind"] not in kinds:
            continue
        written = base.model_dump(exclude_unset=True)
        if given["kind"] != base.kind:
            written = {name: value for name, value in written.items() if name in PLACE}
        elif isinstance(base, NetParams):
            arch = given["arch"] if isinstance(given["arch"], str) else given["arch"]["kind"]
            if "arch" not in searched:
                if arch != base.arch.kind:
                    continue
                given["arch"] = written["arch"]
            given |= {"epochs": base.epochs, "batch_size": written.get("batch_size", given.get("batch_size", 64))}
            if "lr" in given:
                written.pop("optimizer", None)
        try:
            params = MEMBERS.get(given["kind"]).Params.model_validate({**written, **given})
        except (ValidationError, InvalidParams):
            continue  # such as another schedule than that of snapshots
        yield entry, params
