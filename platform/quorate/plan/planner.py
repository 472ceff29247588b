"""Make the plan of a job; it resolves everything that determines the exact results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quorate.data import features
from quorate.data.signature import ImageSignature, Signature, TableSignature
from quorate.data.weighting import check_weighting
from quorate.members.backbone import (
    Backbone,
    backbone_memory,
    check_backbones,
    identity_of_backbone,
    image_seconds,
)
from quorate.members.net_params import NetParams, expected_shape
from quorate.plan.groups import Places
from quorate.plan.identity import derive_seed, digest, fold_digest, identity_of, own_sources
from quorate.plan.placement import START_SECONDS, NoPlaceError, Placement, place, share_of, with_memory
from quorate.plan.tasks import FeatureTask, FitTask, JobData, Plan, Resources
from quorate.registry import MEMBERS, own_reference
from quorate.registry.own_code import describe_error
from quorate.spec import JobSpec, MemberParams
from quorate.training.hub import HubError, hub_digest

_FEATURE_ROWS = 512
"""Number of rows per feature task: small enough to balance the load of the workers, and to lose little when a task is
stopped (an assumption)."""


class PlanError(ValueError):
    """A member cannot be planned for these data."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


def make_plan(spec: JobSpec, context: JobData, places: Places, *, first_fold: int = 0) -> Plan:
    """Make the fit tasks of all members, copies, folds and views, with their seeds, numerics, keys and costs.

    Raises `PlanError` for a member that cannot be planned, and `NoPlaceError` if no node has what it asks for.
    """
    folds = {number: fold_digest(fold) for number, fold in enumerate(context.folds.folds, start=first_fold)}
    notes: list[str] = []
    tasks = tuple(
        task
        for name, params in spec.members.items()
        for task in _tasks(spec, name, params, context, folds, places, notes)
    )
    backbones = dict.fromkeys(backbone for task in tasks for backbone in task.params.frozen_backbones)
    tasks, extractions = with_memory(tasks, tuple(_feature_tasks(backbones, context, places)))
    return Plan(tasks, context, extractions, tuple(dict.fromkeys(notes)))


def feature_plan(backbones: Iterable[Backbone], context: JobData, places: Places) -> Plan:
    """A plan of the feature tasks of frozen networks for the training rows; a job with them has the same tasks.

    Raises `HubError` if the hub cannot provide weights.
    """
    _, extractions = with_memory((), tuple(_feature_tasks(backbones, replace(context, test=None), places)))
    return Plan((), context, extractions)


def recipes_of(spec: JobSpec, labels: Iterable[str]) -> tuple[str, ...]:
    """The recipe of each member by label; members that differ only in their seed have the same recipe."""
    return tuple(_recipe(spec, *label.split(".")) for label in labels)


def _recipe(spec: JobSpec, name: str, *rest: str) -> str:
    """The recipe of a label that is split at its dots: member, copy (if copies differ by more than the seed), and view
    (if it has one)."""
    params = spec.members[name]
    numbered = params.copies > 1 and (not spec.grow or (bool(rest) and rest[0].isdigit()))
    return ".".join([name, *(rest[1:] if numbered and not params.vary else rest)])


def _label(spec: JobSpec, name: str, copy: int) -> str:
    """The label of a copy. In a job that may grow, the first copy has the member's name, which stays when further
    copies are added."""
    alone = spec.members[name].copies == 1 or (spec.grow and copy == 0)
    return name if alone else f"{name}.{copy + 1}"


def hub_weights_of(params: MemberParams, signature: Signature) -> str | None:
    """SHA-256 of the hub weights that a member starts from, or None; raises `HubError`."""
    if not isinstance(params, NetParams) or params.weights != "hub":
        return None
    return hub_digest(params.arch, expected_shape(params, signature))


def _feature_tasks(backbones: Iterable[Backbone], context: JobData, places: Places) -> Iterator[FeatureTask]:
    """The feature tasks of each frozen network, for the training rows and the test rows."""
    for backbone in backbones:
        resources = Resources(1, backbone.gpus)
        groups = places.groups_for(resources)
        share = share_of(resources.cpus, groups) if groups else None
        for part, data in (("train", context.train), ("test", context.test)):
            if data is None:
                continue
            assert isinstance(data.signature, ImageSignature), "refused by each member's numerics"
            shape = data.signature.shape
            identity, numerics = identity_of_backbone(backbone, shape), backbone.numerics(shape)
            seconds, estimate = image_seconds(backbone, shape), backbone_memory(backbone, shape, numerics)
            for start in range(0, len(data), _FEATURE_ROWS):
                stop = min(start + _FEATURE_ROWS, len(data))
                key = digest(what="features", rows=data.rows_digest, start=start, stop=stop, **identity)
                cost = (stop - start) * seconds
                task = FeatureTask(key, backbone, part, start, stop, numerics, cost)  # type: ignore[arg-type]
                yield replace(task, resources=resources, estimate=estimate, share=share)


def _tasks(
    spec: JobSpec,
    name: str,
    params: MemberParams,
    context: JobData,
    folds: Mapping[int, str],
    places: Places,
    notes: list[str],
) -> Iterator[FitTask]:
    kind, resolved = MEMBERS.get(params.kind), None
    # copies with equal parameters are trained in one model, whose kernels can depend on their number
    pack = params.copies if kind.packs and not params.vary else 1
    for copy in range(params.copies):
        if resolved is None or params.vary:
            resolved = _resolve(name, params.of_copy(copy), context, places)
            notes += resolved.placement.notes
        views = kind.views(resolved.params)
        label = _label(spec, name, copy)
        for fold, fold_hash in folds.items():
            seed, numerics = (
                derive_seed(spec.seed, resolved.params.began_as or name, copy, fold),
                replace(resolved.placement.numerics[fold], pack=pack),
            )
            decides = {
                "what": "fit",
                "version": kind.version,
                "member": name,
                "copy": copy,
                "seed": seed,
                "params": resolved.identity,
                "data": context.train.fingerprint,
                "fold": fold_hash,
                "numerics": numerics.to_json(),
                **resolved.own,
            }
            run = FitTask(
                digest(**decides),
                name,
                copy,
                fold,
                label,
                resolved.params,
                seed,
                numerics,
                resolved.cost,
                resolved.placement.resources,
                resolved.placement.estimate,
                resolved.placement.share,
                resolved.placement.accelerator_memory,
                resolved.placement.hardware,
            )
            others = tuple(
                replace(run, key=digest(**decides, view=view), label=f"{label}.{view}", cost=0.0, view=view)
                for view in views
            )
            yield replace(run, others=others)
            yield from others


@dataclass(frozen=True)
class _Resolved:
    """Values that follow from the parameters of one copy."""

    params: MemberParams
    identity: dict[str, Any]
    own: dict[str, Any]
    """Other inputs that determine the result: users' own code, a backbone, hub weights, unlabelled images."""
    placement: Placement
    cost: float


def _resolve(name: str, params: MemberParams, context: JobData, places: Places) -> _Resolved:
    """Resolve the parameters of one copy; raises `PlanError` if the member cannot learn from these rows."""
    if params.best_backbones is not None:
        raise PlanError(name, "features: best chooses networks when a job is trained; here, name one network")
    kind, data = MEMBERS.get(params.kind), context.train
    signature, rows = data.signature, [len(fold.train) for fold in context.folds.folds]
    unlabelled = context.unlabelled if params.pretraining is not None else None
    sources = own_sources(params)
    own: dict[str, Any] = {"own": sources} if sources else {}
    try:
        check_weighting(kind, params, data)
    except ValueError as error:
        raise PlanError(name, str(error)) from error
    try:
        placement = place(name, params, places, signature=signature, rows=rows, n_classes=data.n_classes)
        params, backbones = placement.params, params.frozen_backbones
        seen = check_backbones(backbones, signature)
        cost = kind.cost(params, signature=seen, rows=rows[0], n_classes=data.n_classes)
        if backbones:
            assert isinstance(signature, ImageSignature), "a backbone requires images"
            each = [identity_of_backbone(backbone, signature.shape) for backbone in backbones]
            own["features"] = each[0] if len(each) == 1 else each
        if isinstance(signature, TableSignature):
            own["columns"] = features.VERSION
        if (from_hub := hub_weights_of(params, signature)) is not None:
            own["hub"] = from_hub
        if unlabelled is not None:
            own["unlabelled"] = context.unlabelled_digest
            cost += kind.pretraining_cost(params, signature=signature, rows=len(unlabelled))
    except NoPlaceError:
        raise
    except HubError as error:
        raise PlanError(name, str(error)) from error
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()
        raise PlanError(name, f"cannot be built for {signature}: {reason[0] if reason else repr(error)}") from error
    except Exception as error:
        if own_reference(params) is None:
            raise
        raise PlanError(name, f"{params.kind} raises {describe_error(error)}") from error
    if placement.resources.shared:
        cost = START_SECONDS + cost / placement.resources.workers[0]
    return _Resolved(params, identity_of(params), own, placement, cost)
