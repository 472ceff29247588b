"""Let a cluster grow: read what its autoscaler reports, and name what an actor asks for."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply, NodeStatus
from ray.exceptions import GetTimeoutError, RpcError

from quorate.execution.queue import amounts
from quorate.plan.groups import allowed
from quorate.plan.tasks import Resources

_REFRESH_SECONDS = 1.0
_ANSWER_SECONDS = 5
_ROUNDING = 1e-4
"""Ray counts resources in units of 1e-4, so that it reports a third of an accelerator as 0.3333."""


TRAIN_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "120",
}
"""Settings of Ray Train: workers stay in their folder, the session alone reacts to nodes that are about to leave, a
lost worker is noticed within half a second and a frozen one after two minutes (by default ten), and workers for which
there is no room are given up after 30 s."""


class Autoscaler:
    """The newest report of the cluster's autoscaler, read at most once a second.

    Ray has no public function for it. `ray status` reads the same report (`ray.autoscaler.v2.sdk.get_cluster_status`);
    the node types themselves are not in it (seen with Ray 2.60: `ray._private.state.get_cluster_config` is empty).
    """

    def __init__(self) -> None:
        self._state = AutoscalingState()
        self._others = False
        self._read_at = -_REFRESH_SECONDS

    @property
    def can_grow(self) -> bool:
        """Whether the cluster has an autoscaler of version 2; the reports of others are empty."""
        return bool(self._read().autoscaler_state_version)

    def refuses(self, resources: Resources) -> bool:
        """Whether the autoscaler has no node type for a waiting unit with these resources.

        It gives the same answer when the cluster has its largest number of nodes. So the answer only counts if the
        cluster has no other node than its head.
        """
        report = self._read()
        return not self._others and any(_is_for(one, resources) for one in report.infeasible_resource_requests)

    def _read(self) -> Any:
        if time.monotonic() - self._read_at > _REFRESH_SECONDS:
            self._read_at = time.monotonic()
            reply = GetClusterStatusReply()
            try:
                client = ray._private.worker.global_worker.gcs_client
                reply.ParseFromString(client.get_cluster_status(timeout_s=_ANSWER_SECONDS))
            except (RpcError, GetTimeoutError):  # the head is busy or starts again: the last report holds
                return self._state
            self._state = reply.autoscaling_state
            nodes = reply.cluster_resource_state.node_states
            started = self._state.pending_instance_requests or self._state.pending_instances
            self._others = bool(started) or any(_is_worker(node) for node in nodes)
        return self._state


def actor_options(resources: Resources) -> dict[str, Any]:
    """The options of an actor that holds these resources; one that trains with several workers holds none itself."""
    if resources.shared:
        return {"num_cpus": 0, "num_gpus": 0, "max_restarts": 0, "runtime_env": {"env_vars": TRAIN_SETTINGS}}
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "max_restarts": 0}
    if resources.memory:
        options["memory"] = resources.memory
    if resources.threads is not None:
        options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": str(resources.threads)}}
    if resources.labels:
        options["label_selector"] = dict(resources.labels)
    return options


def _is_worker(node: Any) -> bool:
    return node.status != NodeStatus.DEAD and "node:__internal_head__" not in node.total_resources


def _is_for(request: Any, resources: Resources) -> bool:
    """Whether a request of the autoscaler's report is that of a unit with these resources."""
    bundle, wanted = dict(request.resources_bundle), amounts(resources)
    if bundle.keys() != wanted.keys() or any(abs(bundle[name] - wanted[name]) > _ROUNDING for name in bundle):
        return False
    constraints = [one for selector in request.label_selectors for one in selector.label_constraints]
    asked = {one.label_key: sorted(one.label_values) for one in constraints}
    return asked == {name: sorted(allowed(value)) for name, value in resources.labels}
