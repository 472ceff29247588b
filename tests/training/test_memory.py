"""The memory of a training step, and the batches that fit."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import LAPTOP, plan_of, tiny_data
from torch import nn

from quorate.plan.planner import PlanError
from quorate.registry import ARCHS
from quorate.training.memory import LEAST_STEPS, Footprint, footprint, largest_batch
from quorate.training.shapes import TableShape


def test_the_memory_of_a_row_equals_a_manual_count() -> None:
    # Linear keeps its input, ReLU its output: of each row 100 and 40 floats, of which the input is a leaf of its own
    found = footprint(lambda: nn.Sequential(nn.Linear(100, 40), nn.ReLU()), TableShape(100))

    assert found.row == pytest.approx(1.5 * 4 * (100 + 40))
    assert found.fixed == 4 * 4 * (100 * 40 + 40)


def test_the_memory_grows_in_proportion_to_the_image() -> None:
    arch = ARCHS.get("small_cnn")

    def of(side: int) -> Footprint:
        shape = (side, side, 3)
        return footprint(lambda: arch.build(arch.Params(), shape=shape, n_classes=2, dropout=0.0), shape)

    assert of(64).row == pytest.approx(4 * of(32).row, rel=0.05)
    assert of(64).fixed == of(32).fixed


@pytest.mark.parametrize(
    ("memory", "rows", "size"),
    [(10**9, 100_000, 64), (10**12, 100_000, 8192), (10**12, 1000, 64), (5 * 10**7, 1000, 2)],
)
def test_the_batch_is_the_largest_power_of_two_that_fits_and_leaves_eight_steps(memory, rows, size) -> None:
    found = Footprint(fixed=2 * 10**7, row=10**7)

    assert largest_batch(found, memory=memory, rows=rows) == size
    assert rows >= LEAST_STEPS * size or size == 2


def test_a_network_that_never_fits_is_refused_with_required_and_available_memory() -> None:
    with pytest.raises(
        ValueError, match=r"a step of two rows takes 2.0 GiB, but 1.0 GiB are available; choose a smaller"
    ):
        largest_batch(Footprint(fixed=2**30, row=2**29), memory=2**30, rows=100)


def test_the_plan_fixes_the_batch_of_an_automatic_member() -> None:
    members = "{n: {kind: net, arch: {kind: small_cnn, width: 8}, batch_size: auto}}"

    plan = plan_of(members, data=tiny_data(rows=400))

    assert {task.numerics.batch_size for task in plan.tasks} == {16}
    tight = type(LAPTOP)(cores=2, gpus=0, fast_bfloat16=False, cpu="a CPU", memory=1 << 17)
    with pytest.raises(PlanError, match="a step of two rows takes"):
        plan_of(members, data=tiny_data(rows=400), hardware=tight)


def test_nothing_is_computed_or_drawn() -> None:
    before = torch.get_rng_state()
    footprint(lambda: nn.Sequential(nn.Linear(10, 4), nn.Dropout(0.5)), TableShape(10))
    assert torch.equal(torch.get_rng_state(), before)
