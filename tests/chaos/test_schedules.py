"""Jobs that seeded faults disturb end with the bits of the undisturbed job; `make chaos` runs more of them."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise

import pytest
from tests.chaos.campaign import outcomes
from tests.chaos.faults import FAULTS
from tests.chaos.jobs import SHORT_JOB, SHORT_JOB_SECONDS
from tests.chaos.schedule import draw

SEEDS, ENOUGH = range(1, 9), 2
"""Seeds of the schedules, and the number of faults after which no further schedule runs: ten schedules take five
minutes on two cores, and continuous integration has twenty minutes for everything. Whether a job ends before its fault
is injected depends on the speed of the machine."""


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_short_schedules_end_with_the_bits_of_the_undisturbed_job() -> None:
    given = 0
    with closing(outcomes(SHORT_JOB, SEEDS, seconds=SHORT_JOB_SECONDS, short=True)) as runs:
        for outcome in runs:
            print(outcome, flush=True)
            assert not outcome.problem, str(outcome)
            given += len(outcome.given)
            if given >= ENOUGH:
                break

    assert given >= ENOUGH, "too few faults were injected before the jobs ended"


def test_a_seed_gives_the_same_schedule_again() -> None:
    assert str(draw(7, seconds=20)) == str(draw(7, seconds=20)) != str(draw(8, seconds=20))


def test_consecutive_seeds_give_every_fault() -> None:
    drawn = {fault.name for seed in range(8, 8 + len(FAULTS)) for fault in draw(seed, seconds=20).faults}

    assert drawn == set(FAULTS)


def test_the_faults_of_a_schedule_lie_within_the_training_and_apart() -> None:
    for seed in range(200):
        times = [fault.at for fault in draw(seed, seconds=20).faults]

        assert times[0] >= 0 and times[-1] <= 17 and times == sorted(times)
        assert all(later - earlier >= 2.4 - 1e-9 for earlier, later in pairwise(times))


def test_short_schedules_have_only_quick_faults_that_need_no_service() -> None:
    for seed in range(200):
        schedule = draw(seed, seconds=6, short=True)

        assert 1 <= len(schedule.faults) <= 2 and not schedule.needs
        assert all(fault.fault.quick for fault in schedule.faults)
