"""Replace each member with `features: best` by one member for each of its best frozen networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quorate.execution.budget import Budget
from quorate.job.candidate_vectors import candidate_vectors
from quorate.job.feature_ranking import names_of, rank_features
from quorate.job.features import BackboneError
from quorate.job.fits import FitRunner
from quorate.members.backbone import Backbone, check_backbone
from quorate.members.best_backbones import BestBackbones
from quorate.plan.planner import feature_plan
from quorate.plan.tasks import JobData
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.spec import Job, MemberParams
from quorate.spec.file import Loc
from quorate.training.hub import HubError

_LONGEST = 100
"""Largest number of characters of a member's name."""


@dataclass(frozen=True)
class BackboneChoice:
    """A job in which the frozen networks of each member are known, and the ranking that chose them."""

    job: Job
    ranking: BackboneRanking | None = None
    """None if the job leaves no choice open."""


def choose_backbones(job: Job, data: JobData, runner: FitRunner, budget: Budget | None = None) -> BackboneChoice:
    """Rank the networks of the members with `features: best`, and replace these members.

    The ranking sees training rows only. With several folds these are all rows, so that the classes of a fold's
    validation rows have a part in the choice of its networks. `BackboneUse.agreeing_folds` measures whether this
    matters: where it equals the number of folds, each fold would have chosen the same networks without these rows.

    Raises `SpecError` for networks that do not suit the data, or if none of them is available.
    """
    choices = open_choices(job)
    if not choices:
        return BackboneChoice(job)
    check_candidates(job, data, choices)
    candidates = list(dict.fromkeys(one for best in choices.values() for one in best.candidates))
    try:
        vectors = candidate_vectors(candidates, data, runner, job.spec.execution, budget)
    except BackboneError as error:
        raise job.error(*((("members", name, "features"), str(error)) for name in choices)) from None
    if lost := [name for name, best in choices.items() if not vectors.found.keys() & set(best.candidates)]:
        raise job.error(*((("members", name, "features"), "none of its networks is available") for name in lost))
    ranking = rank_features(vectors, data, names_of(candidates), seed=job.spec.seed)
    kept = {name: ranking.best(best.candidates, best.keep) for name, best in choices.items()}
    uses = [ranking.use(name, best.candidates, best.keep) for name, best in choices.items()]
    return BackboneChoice(with_backbones(job, kept, ranking.names), ranking.record(vectors, uses))


def planned_choice(job: Job, data: JobData, runner: FitRunner) -> Job:
    """The job as `choose_backbones` makes it if all features are in the store; otherwise with every network.

    In that case a note says so, because the job will train only the best of these members.
    """
    choices = open_choices(job)
    check_candidates(job, data, choices)
    candidates = list(dict.fromkeys(one for best in choices.values() for one in best.candidates))
    try:
        tasks = feature_plan(candidates, data, runner.place).features
    except HubError as error:
        raise job.error(*((("members", name, "features"), str(error)) for name in choices)) from None
    if all(runner.results.has_features(task) for task in tasks):
        return choose_backbones(job, data, runner).job
    for name, best in choices.items():
        kept = min(best.keep, len(best.candidates))
        runner.say(f"{name}: the job keeps {kept} of these {len(best.candidates)} networks; the plan has all of them")
    return with_backbones(job, {name: best.candidates for name, best in choices.items()}, names_of(candidates))


def open_choices(job: Job) -> dict[str, BestBackbones]:
    """The members that leave the choice of their frozen network open."""
    found = {name: params.best_backbones for name, params in job.spec.members.items()}
    return {name: best for name, best in found.items() if best is not None}


def networks_of(job: Job) -> list[Backbone]:
    """All frozen networks that the members of a job name."""
    own = (one for params in job.spec.members.values() for one in params.frozen_backbones)
    several = (one for best in open_choices(job).values() for one in best.candidates)
    return list(dict.fromkeys([*own, *several]))


def check_candidates(job: Job, data: JobData, choices: Mapping[str, BestBackbones]) -> None:
    """Raise `SpecError` for networks that cannot take the images, and for weights of another network."""
    wrong: list[tuple[Loc, str]] = []
    for name, best in choices.items():
        for place, one in enumerate(best.candidates):
            try:
                check_backbone(one, data.train.signature)
            except ValueError as error:
                wrong.append((("members", name, "features", "of", place), str(error)))
    if wrong:
        raise job.error(*wrong)


def with_backbones(job: Job, kept: Mapping[str, tuple[Backbone, ...]], names: Mapping[Backbone, str]) -> Job:
    """The job with one member per kept network in place of each of these members; raises `SpecError` for names that
    the job already has."""
    members: dict[str, MemberParams] = {}
    lines = dict(job.source.lines)
    for name, params in job.spec.members.items():
        for one in kept.get(name, ()):
            own = f"{name}-{names[one]}"[:_LONGEST]
            if own in job.spec.members or own in members:
                raise job.error((("members", name), f"becomes the member {own}, which the job has too; rename one"))
            members[own] = params.model_copy(update={"features": one})
            lines |= {
                ("members", own, *loc[2:]): line
                for loc, line in job.source.lines.items()
                if loc[:2] == ("members", name)
            }
        if name not in kept:
            members[name] = params
    spec = job.spec.model_copy(update={"members": members})
    return replace(job, spec=spec, source=replace(job.source, lines=lines))
