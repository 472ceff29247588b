"""Train a fit with several workers: a worker group of Ray Train's `TorchTrainer`, started for one attempt at a task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping

from quorate.execution.assignment import Assignment
from quorate.execution.events import Event, Failed, Stopped
from quorate.execution.ray.group_worker import GroupFit, is_lost_connection, train_part
from quorate.plan.tasks import Resources


def train_with_workers(
    fit: GroupFit,
    resources: Resources,
    failures: Mapping[int, Failed],
    addresses: Mapping[int, str],
    emit: Callable[[Event], None],
) -> None:
    """Train with the workers that the queue has set aside, and return when they have ended.

    The first worker sends the events to `fit.lead`. If the workers fail, the event is emitted here: the failure of the
    first of those that have reported one in `failures`, by rank, or else the loss of a worker, with the address of its
    node from `addresses`, by rank. Ray Train itself repeats nothing, and does not change the number of workers: it
    would count resources that the queue gives to others.
    """
    # imported here, because it takes some seconds, and most workers train alone
    from ray.train import (
        ControllerError,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
        WorkerGroupError,
    )
    from ray.train.torch import TorchTrainer

    from quorate.execution.ray.torch_group import TorchGroup

    count, whole = resources.workers[0], resources.gpus >= 1
    amounts = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory}
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        trainer = TorchTrainer(
            train_part,
            train_loop_config={"fit": fit},
            # NCCL refuses two workers on one accelerator
            torch_config=TorchGroup(backend="nccl" if whole else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=count,
                use_gpu=resources.gpus > 0,
                resources_per_worker={name: amount for name, amount in amounts.items() if amount},
                label_selector=dict(resources.labels) or None,
            ),
            run_config=RunConfig(
                storage_path=folder,  # nothing is reported to Ray Train, so nothing but a marker is written
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            ),
        )
        try:
            trainer.fit()
        except ControllerError as error:
            emit(_not_started(fit.assignment, error.controller_failure))
        except WorkerGroupError as error:
            lost = _lost(fit.assignment, error.worker_failures, addresses, count)
            emit(failures[min(failures)] if failures else lost)
        except TrainingFailedError as error:
            emit(Failed(fit.assignment.task, fit.assignment.attempt, "lost", str(error)))


def _not_started(assignment: Assignment, error: Exception) -> Event:
    """The task waits again if there was no room for its workers: a node may be lost without being known as dead."""
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    if isinstance(error, WorkerGroupStartupTimeoutError):
        return Stopped(assignment.task)
    return Failed(assignment.task, assignment.attempt, "lost", f"its workers did not start: {error}")


def _lost(assignment: Assignment, errors: Mapping[int, Exception], addresses: Mapping[int, str], count: int) -> Failed:
    gone = [rank for rank, error in sorted(errors.items()) if not is_lost_connection(error)]
    which = f"worker {' and '.join(str(rank + 1) for rank in gone)}" if gone else "a worker"
    hosts = dict.fromkeys(addresses[rank] for rank in gone if rank in addresses)
    where = f" on {' and '.join(hosts)}" if hosts else ""
    return Failed(assignment.task, assignment.attempt, "lost", f"{which} of {count}{where} died", log=assignment.log)
