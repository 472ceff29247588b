"""The workers of a session on Ray, and the resources that they hold."""

from __future__ import annotations

import time

import pytest
from tests.execution.jobs import plan_of

from quorate.execution.assignment import Assignment
from quorate.execution.base import Policy
from quorate.execution.ray.actor_pool import ActorPool
from quorate.execution.ray.autoscaling import Autoscaler
from quorate.execution.ray.nodes import Nodes
from quorate.plan.tasks import Resources


@pytest.mark.system
def test_what_workers_hold_on_a_node_that_is_left_out_does_not_take_up_the_other_nodes(ray_session: None) -> None:
    # given: a worker whose node is known
    plan, one = plan_of({"slow": {"kind": "odd", "seconds": 20}}), Resources()
    pool = ActorPool(plan.context, Nodes(), Autoscaler(), Policy().destination)
    actor = pool.take(one, None)
    pool.begin(actor, [Assignment(plan.tasks[0], 1, 60)])
    while not actor.node:
        pool.on_silent_nodes()
        time.sleep(0.1)
    assert pool._held == {"CPU": 1}

    # when: its node is about to leave; then: neither the node nor its worker counts
    pool._leave_out(frozenset({actor.node}))
    assert not pool._nodes.total(one)["CPU"] and not pool._held["CPU"]

    # when: the node stays; then: both count again, and the end of the worker is counted once
    pool._leave_out(frozenset())
    assert pool._nodes.total(one)["CPU"] and pool._held["CPU"] == 1
    pool._leave_out(frozenset({actor.node}))
    pool.retire(actor)
    pool._leave_out(frozenset())
    assert not pool._held["CPU"]
    pool.retire_all()
