"""What a job finds in the store when it starts again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.tiny import Nodes, plan_on, two_folds

from quorate.execution.events import Fitted
from quorate.job.progress import JobProgress
from quorate.plan.groups import Node
from quorate.plan.tasks import FitTask
from quorate.results.results import Results
from quorate.store import open_store
from quorate.training.context import Hardware, MemoryUse

GIB = 1 << 30
HERE = Hardware(cores=4, gpus=0, fast_bfloat16=False, cpu="a CPU", memory=16 * GIB, room=8 * GIB)


def test_a_later_start_reserves_what_the_first_task_of_a_member_used(tmp_path: Path) -> None:
    """A core comes with 2 GiB. In steps of 256 MiB, 3 GiB and a tenth more are 3.5 GiB, and 440 MiB are 512."""
    # given: fold 1 of one of two members has been trained
    plan = plan_on(Nodes((Node("here", HERE, (), 4),)), "{m: svm, n: {kind: svm, C: 2}}")
    results, first = Results(open_store(str(tmp_path))), plan.of("m")[0]
    valid = np.full((len(two_folds()[0].valid), 3), 1 / 3, np.float32)
    results.keep(Fitted(first, valid, [], {}, 1.0, complete=True, memory=MemoryUse(3 * GIB)))

    # when
    work = JobProgress.found(plan, results)
    later = work.corrected(plan)

    # then: all tasks reserve memory, also the test prediction of the finished fit
    def memory(task: FitTask) -> int:
        return task.resources.memory

    assert [memory(task) for task in plan.tasks] == [0, 0, 0, 0]
    assert [memory(task) for task in later.tasks] == [7 * GIB // 2, 7 * GIB // 2, GIB // 2, GIB // 2]
    assert memory(work.fits[first.key].task) == 7 * GIB // 2
    assert later.of("m")[1].measured == MemoryUse(3 * GIB) and later.of("n")[0].measured is None
