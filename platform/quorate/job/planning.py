"""Plan a job for the machines that it runs on; errors point to the place in the job file."""

from __future__ import annotations

import contextlib

from quorate.execution.node_waits import NoNodeError
from quorate.execution.workplace import Workplace
from quorate.job.features import BackboneError
from quorate.plan.planner import PlanError, make_plan
from quorate.plan.tasks import JobData, Plan, Resources
from quorate.spec import Job
from quorate.spec.file import SpecError


def plan_job(job: Job, context: JobData, place: Workplace) -> Plan:
    """Plan the job for this workplace; raises `SpecError` for members that can never run there."""
    try:
        plan = make_plan(job.spec, context, place.hardware())
    except PlanError as error:
        raise job.error((("members", error.member), str(error))) from None
    if job.spec.quorum.members > len(plan.labels):
        counts = f"{job.spec.quorum.members} members are required, but the job has {len(plan.labels)}"
        raise job.error((("quorum", "members"), f"{counts}; lower it, or add members"))
    _wait_for_nodes(plan, place)
    too_large = {task.member: task.resources for task in plan.tasks if not place.slots(task.resources)}
    lacking = {task.backbone: task.resources for task in plan.features if not place.slots(task.resources)}
    for member, backbone in ((task.member, task.params.frozen_backbone) for task in plan.tasks):
        if backbone is not None and backbone in lacking:
            too_large[member] = lacking[backbone]
    if too_large:
        raise job.error(
            *(
                (
                    ("members", name),
                    _refusal(resources),
                )
                for name, resources in too_large.items()
            )
        )
    return plan


def _wait_for_nodes(plan: Plan, place: Workplace) -> None:
    """Ask a cluster that can grow for the nodes that its tasks need and that it does not have."""
    wanted = [*(task.resources for task in plan.tasks), *(task.resources for task in plan.features)]
    for resources in dict.fromkeys(wanted):
        with contextlib.suppress(NoNodeError):  # the caller names the members that need it
            place.require(resources)


def _refusal(resources: Resources) -> str:
    if not resources.labels:
        return f"requires {resources}, which is more than any node has; lower cpus, gpus or memory"
    remedy = "change needs, or lower cpus, gpus or memory"
    return f"requires {resources}, which no node with these labels has; {remedy}"


def without_backbone(job: Job, plan: Plan, error: BackboneError) -> SpecError:
    """The error for a frozen network that is not available; it points to the members that use its features."""
    names = dict.fromkeys(task.member for task in plan.tasks if task.params.frozen_backbone == error.backbone)
    return job.error(*((("members", name, "features"), str(error)) for name in names))
