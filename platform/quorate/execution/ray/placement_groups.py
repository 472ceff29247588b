"""The placement groups of Ray Train: remove those that no task uses any more."""

from __future__ import annotations

from collections.abc import Collection

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group


def remove_unused(used: Collection[str]) -> None:
    """Remove the placement groups of this driver except those with the ids `used`.

    Ray removes the group of an actor that has died only when its driver ends. Ray Train has an actor that removes it
    before; without a dashboard, this actor does not learn that the other one has died (seen with Ray 2.60).
    """
    job = ray.get_runtime_context().get_job_id()  # the end of each id
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED" and name not in used:
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
