"""Plan a job for the machines that it runs on; errors point to the place in the job file."""

from __future__ import annotations

from quorate.execution.workplace import Workplace
from quorate.job.features import BackboneError
from quorate.plan.placement import NoPlaceError, without_place
from quorate.plan.planner import PlanError, make_plan
from quorate.plan.tasks import JobData, Plan, Resources
from quorate.spec import Job
from quorate.spec.file import SpecError


def plan_job(job: Job, context: JobData, place: Workplace) -> Plan:
    """Plan the job for this workplace; raises `SpecError` for members that can never run there."""
    if lacking := without_place(job.spec, place):
        raise job.error(*((("members", name), _refusal(resources, job)) for name, resources in lacking.items()))
    try:
        plan = make_plan(job.spec, context, place)
    except NoPlaceError as error:  # a node has left in the meantime
        raise job.error((("members", error.member), _refusal(error.resources, job))) from None
    except PlanError as error:
        raise job.error((("members", error.member), str(error))) from None
    if job.spec.quorum.members > len(plan.labels):
        counts = f"{job.spec.quorum.members} members are required, but the job has {len(plan.labels)}"
        raise job.error((("quorum", "members"), f"{counts}; lower it, or add members"))
    return plan


def _refusal(resources: Resources, job: Job) -> str:
    least = resources.workers[0]
    if least > 1 and job.spec.execution.executor == "local":
        return f"requires {least} workers, but executor: local has one; choose executor: ray, or let workers start at 1"
    if least > 1:
        return f"requires {resources}, which is more than the nodes have together; lower workers, cpus or gpus"
    if not resources.labels:
        return f"requires {resources}, which is more than any node has; lower cpus, gpus or memory"
    remedy = "change needs, or lower cpus, gpus or memory"
    return f"requires {resources}, which no node with these labels has; {remedy}"


def without_backbone(job: Job, plan: Plan, error: BackboneError) -> SpecError:
    """The error for a frozen network that is not available; it points to the members that use its features."""
    names = dict.fromkeys(task.member for task in plan.tasks if error.backbone in task.params.frozen_backbones)
    return job.error(*((("members", name, "features"), str(error)) for name in names))
