"""Nodes that are alike, the labels that bind a member to some of them, and its numerics there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.tiny import LAPTOP, Nodes, plan_on, tiny_data

from quorate.plan.groups import Node, binding, group_nodes
from quorate.plan.placement import NoPlaceError
from quorate.plan.tasks import Labels
from quorate.training.context import Accelerator, Hardware

GIB = 1 << 30
OLD = Hardware(cores=16, gpus=0, fast_bfloat16=False, cpu="old", memory=64 * GIB, room=40 * GIB)
NEW = Hardware(cores=16, gpus=0, fast_bfloat16=True, cpu="new", memory=64 * GIB, room=40 * GIB)
H100 = replace(OLD, gpus=2, accelerator=Accelerator("H100", 80 * GIB, True))
CNN = "{kind: net, arch: small_cnn}"
IMAGES = tiny_data(shape=(16, 16, 1))


def node(name: str, hardware: Hardware, **labels: str) -> Node:
    every = {"ray.io/node-id": name, **{key.replace("__", "-"): value for key, value in labels.items()}}
    if hardware.accelerator is not None:
        every["ray.io/accelerator-type"] = hardware.accelerator.name
    return Node(name, hardware, tuple(sorted(every.items())), hardware.cores, hardware.gpus)


def test_nodes_are_alike_if_they_differ_only_in_a_few_percent_of_memory() -> None:
    a, b = node("a", OLD), node("b", replace(OLD, memory=63 * GIB, room=39 * GIB))
    small, new = node("small", replace(OLD, memory=16 * GIB, room=11 * GIB)), node("new", NEW)

    groups = group_nodes([small, b, new, a])

    assert [[one.name for one in group.nodes] for group in groups] == [["new"], ["a", "b"], ["small"]]
    assert groups[1].hardware.room == 39 * GIB, "that of the smallest"


def test_a_container_with_less_memory_is_not_like_its_machine() -> None:
    assert len(group_nodes([node("a", OLD), node("b", replace(OLD, memory_limit=8 * GIB))])) == 2


def test_the_order_of_groups_does_not_depend_on_the_number_of_nodes() -> None:
    first = group_nodes([node("a", NEW), node("b", OLD), node("c", H100)])
    later = group_nodes([node("a", OLD), node("b", OLD), node("c", OLD), node("d", NEW), node("e", H100)])

    assert [group.hardware for group in first] == [group.hardware for group in later] == [H100, NEW, OLD]


@pytest.mark.parametrize(
    ("chosen", "others", "expected"),
    [
        ([node("a", H100)], [node("b", OLD)], (("ray.io/accelerator-type", "H100"),)),
        ([node("a", NEW, zone="x"), node("b", NEW, zone="x")], [node("c", OLD, zone="y")], (("zone", "x"),)),
        (
            [node("a", NEW, zone="x"), node("b", NEW, zone="x"), node("c", NEW, zone="y")],
            [node("d", OLD, zone="z")],
            (("zone", "in(x,y)"),),
        ),
        ([node("a", NEW, zone="x"), node("b", NEW)], [node("c", OLD)], (("ray.io/node-id", "in(a,b)"),)),
        ([node("a", NEW, zone="x")], [node("c", OLD, zone="x")], (("ray.io/node-id", "a"),)),
    ],
    ids=["accelerator", "one value", "several values", "ids", "one id"],
)
def test_a_label_that_only_the_chosen_nodes_have_binds_a_unit_to_them(
    chosen: list[Node], others: list[Node], expected: Labels
) -> None:
    assert binding(chosen, others) == expected
    assert all(one.has(expected) for one in chosen) and not any(one.has(expected) for one in others)


def test_members_get_the_numerics_of_their_group_and_are_bound_to_it_if_these_differ() -> None:
    """A network with convolutions uses bfloat16 where that is fast; a forest is the same everywhere."""
    places = Nodes((node("a", OLD, zone="x"), node("b", NEW, zone="y")))

    plan = plan_on(
        places, f"{{auto: {CNN}, old: {{kind: net, arch: small_cnn, needs: {{zone: x}}}}, svm: svm}}", IMAGES
    )

    auto, bound, svm = plan.of("auto")[0], plan.of("old")[0], plan.of("svm")[0]
    assert (auto.numerics.precision, auto.resources.labels) == ("bfloat16", (("zone", "y"),))
    assert (bound.numerics.precision, bound.resources.labels) == ("float32", (("zone", "x"),))
    assert svm.resources.labels == ()
    assert (auto.hardware, bound.hardware, svm.hardware) == ((NEW,), (OLD,), (NEW, OLD))
    (note,) = plan.notes
    assert note.startswith("auto: its numerics depend on the node; it runs on 1 node: 16 cores new, fast bfloat16,")
    assert "not on 16 cores old" in note


def test_a_network_that_fills_the_memory_gets_the_batch_of_its_group() -> None:
    """2,000 rows allow a batch of 128, if the memory does; 8 MiB hold fewer rows."""
    large, small = replace(OLD, memory=GIB), replace(OLD, memory=8 << 20)
    net = "kind: net, arch: small_cnn, batch_size: auto, cpus: 16"

    plan = plan_on(
        Nodes((node("a", large, zone="x"), node("b", small, zone="y"))),
        f"{{m: {{{net}}}, n: {{{net}, needs: {{zone: y}}}}}}",
        tiny_data(rows=4000),
    )

    m, n = plan.of("m")[0], plan.of("n")[0]
    assert (m.numerics.batch_size, m.resources.labels, m.hardware) == (128, (("zone", "x"),), (large,))
    assert (n.resources.labels, n.hardware) == ((("zone", "y"),), (small,))
    assert 1 < n.numerics.batch_size < 128


def test_a_member_that_runs_on_equal_nodes_is_not_bound() -> None:
    places = Nodes((node("a", NEW), node("b", replace(NEW, memory=16 * GIB, room=11 * GIB))))

    task = plan_on(places, f"{{m: {CNN}}}", IMAGES).tasks[0]

    assert task.resources.labels == () and len(task.hardware) == 2


def test_needs_select_accelerators_by_their_type_and_nodes_by_any_label() -> None:
    places = Nodes((node("a", H100), node("b", OLD, team="vision")))

    plan = plan_on(places, "{m: {kind: svm, needs: {accelerator: H100}}, n: {kind: svm, needs: {team: vision}}}")

    assert [plan.of(name)[0].resources.labels for name in "mn"] == [
        (("ray.io/accelerator-type", "H100"),),
        (("team", "vision"),),
    ]
    assert [plan.of(name)[0].hardware for name in "mn"] == [(H100,), (OLD,)]
    with pytest.raises(NoPlaceError, match=r"m requires 1 cpu, ray\.io/accelerator-type=B200, which no node has"):
        plan_on(places, "{m: {kind: svm, needs: {accelerator: B200}}}")


def test_a_small_network_shares_an_accelerator_and_an_svm_takes_none() -> None:
    places = Nodes((node("a", H100),))

    plan = plan_on(places, f"{{net: {CNN}, whole: {{kind: net, arch: small_cnn, gpus: 1}}, svm: svm}}", IMAGES)

    net, whole, svm = plan.of("net")[0], plan.of("whole")[0], plan.of("svm")[0]
    assert (net.resources.gpus, net.numerics.device) == (1 / 8, "cuda")
    assert (whole.resources.gpus, whole.accelerator_memory) == (1, None)
    assert (svm.resources.gpus, svm.numerics.device) == (0, "cpu")
    assert net.numerics.precision == "bfloat16", "the accelerator multiplies it fast, the CPU does not"


def test_a_network_on_the_cpu_of_a_node_with_accelerators_has_the_precision_of_the_cpu() -> None:
    task = plan_on(Nodes((node("a", H100),)), "{m: {kind: net, arch: small_cnn, gpus: 0}}", IMAGES).tasks[0]

    assert (task.numerics.precision, task.numerics.device) == ("float32", "cpu")


def test_where_to_run_is_no_part_of_the_key() -> None:
    here = Nodes((node("a", OLD, zone="x"),))

    keys = {
        plan_on(here, f"{{m: {{kind: svm{more}}}}}").tasks[0].key
        for more in ("", ", needs: {zone: x}", ", memory: 2GiB", ", gpus: auto", ", memory: auto, gpus: 0")
    }

    assert len(keys) == 1
    assert keys == {plan_on(Nodes((node("a", LAPTOP),)), "{m: svm}").tasks[0].key}
