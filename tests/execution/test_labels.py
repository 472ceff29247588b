"""Units that ask for nodes with labels."""

from __future__ import annotations

import pytest

from quorate.execution.labels import is_match
from quorate.execution.local import LocalExecutor
from quorate.execution.queue import needs
from quorate.plan.tasks import Resources

H100 = (("ray.io/accelerator-type", "H100"),)


@pytest.mark.parametrize(
    ("labels", "wanted", "expected"),
    [
        ({}, (), True),
        ({"zone": "a"}, (("zone", "a"),), True),
        ({"zone": "b"}, (("zone", "a"),), False),
        ({}, (("zone", "a"),), False),
        ({"zone": "b"}, (("zone", "in(a,b)"),), True),
        ({"zone": "c"}, (("zone", "in(a, b)"),), False),
        ({"zone": "a"}, (("rack", "1"), ("zone", "a")), False),
    ],
)
def test_a_node_matches_if_it_has_every_label_that_is_wanted(
    labels: dict[str, str], wanted: tuple[tuple[str, str], ...], expected: bool
) -> None:
    assert is_match(labels, wanted) is expected


def test_a_unit_with_labels_counts_for_the_cluster_and_for_the_nodes_that_it_asks_for() -> None:
    assert needs(Resources(cpus=2)) == {"CPU": 2}

    assert list(needs(Resources(cpus=2, gpus=0.5, labels=H100)).values()) == [2, 0.5, 2, 0.5]
    assert str(Resources(cpus=2, labels=H100)) == "2 cpus, ray.io/accelerator-type=H100"


def test_this_process_refuses_labels_that_the_machine_lacks() -> None:
    assert LocalExecutor().slots(Resources()) == 1
    assert LocalExecutor().slots(Resources(labels=(("zone", "a"),))) == 0
