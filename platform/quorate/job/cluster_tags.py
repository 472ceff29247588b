"""Describe the place where a job runs, as tags of its MLflow run."""

from __future__ import annotations

from importlib import metadata

from quorate.execution.workplace import Workplace
from quorate.plan.tasks import Resources


def cluster_tags(place: Workplace) -> dict[str, str]:
    """The address of the cluster, or `local`; the version of Ray; the number of nodes that run tasks, and their groups
    of equal hardware, when the job starts."""
    groups = place.groups_for(Resources(), present=True)
    tags = {"quorate.cluster": place.address, "quorate.nodes": str(sum(len(group.nodes) for group in groups))}
    if groups:  # a cluster that grows can have no node yet
        tags["quorate.node_groups"] = "; ".join(map(str, groups))
    return tags | ({"quorate.ray_version": metadata.version("ray")} if place.uses_ray else {})
