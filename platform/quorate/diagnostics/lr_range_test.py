"""Run the learning rate range test on a member of a job, and describe the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quorate.diagnostics.first_fold import FirstFold
from quorate.errors import UserError
from quorate.job.fits import FitRunner
from quorate.members.net_params import NetParams
from quorate.plan.procedures import by_procedure
from quorate.spec import Job
from quorate.training.curves import with_labels
from quorate.training.procedures import RangeSweep
from quorate.training.range_test import RangeTest, RateRange, Sweep, read

_ROWS_TO_VALIDATE = 2
"""Number of validation rows: the training loop requires some, but the range test does not use the result."""
_NEAR = 3.0
"""A learning rate within this factor of the suggestion counts as equally good, because the test is not more precise. An
assumption, not a measurement."""


@dataclass(frozen=True)
class RangeTestResult:
    """A range test of one member."""

    member: str
    rate: float
    """The learning rate of the job."""
    batch_size: int
    test: RangeTest
    reading: RateRange

    def to_json(self) -> dict[str, Any]:
        r = self.reading
        return {
            "member": self.member,
            "rate": self.rate,
            "batch_size": self.batch_size,
            "suggested": r.suggested,
            "steepest": r.steepest,
            "least": r.least,
            "too_low_below": r.too_low,
            "too_high_from": r.too_high,
            "diverges_at": r.diverges,
            "says": sentences(self),
            "rates": [float(rate) for rate in self.test.rates],
            "losses": [float(loss) if np.isfinite(loss) else None for loss in self.test.losses],
            "smoothed": [float(loss) if np.isfinite(loss) else None for loss in self.test.smoothed],
        }


def check_networks(job: Job, member: str) -> None:
    """Raise `UserError` if the member exists and is not a network."""
    networks = [name for name, params in job.spec.members.items() if params.kind == "net"]
    params = job.spec.members.get(member)
    if params is not None and member not in networks:
        those = f"choose one of {', '.join(networks)}" if networks else "and this job has none"
        raise UserError(
            f"{member} is of kind {params.kind}, but the range test requires a network (kind: net); {those}"
        )


def find_rate(subject: FirstFold, runner: FitRunner, *, low: float, high: float, steps: int) -> RangeTestResult:
    """Run the range test of a network on the training rows of its first fold, with its own seed and optimizer."""
    params, procedure = subject.task.params, RangeSweep(low, high, steps)
    assert isinstance(params, NetParams), "checked by check_networks"
    task = by_procedure(subject.task, procedure, label=subject.task.member)
    data = subject.data(subject.train, np.arange(min(_ROWS_TO_VALIDATE, len(subject.train))))
    with runner.session(data, subject.execution) as session:
        history = session.result(task).history
    sweep = Sweep(procedure.rates())
    for figures in with_labels(history):
        sweep.add(figures["train_loss"])
    test = sweep.result()
    return RangeTestResult(task.member, params.lr, task.numerics.batch_size, test, read(test, steps))


def sentences(found: RangeTestResult) -> list[str]:
    """The result of the test in sentences, and the learning rate of the job compared with it."""
    r, tried = found.reading, f"{format_rate(found.test.rates[0])} to {format_rate(found.test.rates[-1])}"
    if not r.learns or r.suggested is None or r.least is None:
        why = (
            f"the loss diverged at {format_rate(r.diverges)}: try a lower --from"
            if r.diverges is not None
            else "no rate changes the loss: try a higher --to or more --steps; check labels, standardize and arch"
        )
        return [f"the loss did not fall by more than its noise for learning rates from {tried}; {why}"]
    said = [f"suggested: {format_rate(r.suggested)}, a tenth of {format_rate(r.least)}, where the loss is lowest"]
    if r.too_low is not None:
        said.append(f"too low below {format_rate(r.too_low)}: the loss does not change within the test")
    if r.too_high is not None:
        end = f", and diverges at {format_rate(r.diverges)}, which ends the test" if r.diverges is not None else ""
        said.append(f"too high from {format_rate(r.too_high)}: the loss rises{end}")
    else:
        said.append(f"no learning rate up to {format_rate(found.test.rates[-1])} is too high")
    return [*said, own_rate(found.rate, r)]


def own_rate(rate: float, r: RateRange) -> str:
    """The learning rate of the job compared with the suggestion."""
    assert r.suggested is not None and r.least is not None
    own = f"the learning rate of the job, {format_rate(rate)}, "
    if r.too_high is not None and rate >= r.too_high:
        return own + f"is too high: set lr to {format_rate(r.suggested)}"
    if r.too_low is not None and rate < r.too_low:
        return own + f"is too low: set lr to {format_rate(r.suggested)}"
    factor = rate / r.suggested
    if factor > _NEAR:
        return (
            own + f"is {factor:.1f} times the suggestion, but not too high: use it with a schedule that lowers the rate"
        )
    if factor < 1 / _NEAR:
        return (
            own + f"is {1 / factor:.1f} times lower than the suggestion: the network learns more slowly than it could"
        )
    return own + "is as good as the suggestion"


def format_rate(rate: float | None) -> str:
    assert rate is not None
    return f"{rate:.2g}"
