"""The steps of a trial: after each one but the last, a scheduler decides whether the trial goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from quorate.spec import MemberParams
from quorate.spec.configuration import problem_of
from quorate.spec.search import SearchSpec

_COMPARISONS = 10
"""Number of comparisons of a population by default (an assumption)."""


@dataclass(frozen=True)
class Step:
    """What a trial has trained after a step: its first folds, up to a part of their epochs."""

    folds: int
    part: float = 1.0
    """The part of the epochs, from 0 to 1; a member without epochs is trained completely."""

    def epochs(self, params: MemberParams) -> int | None:
        """The epoch after which the fits end, of the pretraining and the training; None for their own end."""
        most = params.most_epochs
        if self.part == 1 or most is None:
            return None
        before = getattr(params.pretraining, "epochs", 0)
        last = before + max(1, round(self.part * (most - before)))
        return last if last < most else None


def steps_of(spec: SearchSpec, base: MemberParams, folds: int) -> tuple[Step, ...]:
    """The steps of every trial of a search; the last one is the complete training.

    Raises `ValueError` if trials cannot be compared where the search wants that.
    """
    whole = Step(folds)
    if spec.scheduler == "none":
        return (whole,)
    if spec.scheduler == "pbt":
        return (*_even(spec, base, folds), whole)
    if folds == 1 and base.most_epochs is None:
        raise ValueError(
            f"scheduler: {spec.scheduler} needs several folds or a member with epochs, but the job has one fold and "
            f"{base.kind} has no epochs; write scheduler: none"
        )
    over = spec.over if spec.over != "auto" else "folds" if folds > 1 else "epochs"
    if over in ("folds", "both") and folds == 1:
        raise ValueError(f"over: {over} needs several folds, but the job has one; write over: epochs")
    if over in ("epochs", "both") and base.most_epochs is None:
        raise ValueError(f"over: {over} needs a member with epochs, but {base.kind} has none; write over: folds")
    by_fold = tuple(Step(number) for number in _ascending(folds, spec.reduction))
    if spec.scheduler == "wilcoxon":
        return (*(Step(number) for number in range(2, folds)), whole)
    if over == "folds":
        return by_fold
    assert base.most_epochs is not None
    parts = [epochs / base.most_epochs for epochs in _ascending(base.most_epochs, spec.reduction)]
    if over == "epochs":
        return tuple(Step(folds, part) for part in parts)
    first = by_fold if by_fold[0].folds == 1 else (Step(1), *by_fold)
    return tuple(Step(1, part) for part in parts[:-1]) + first


def _even(spec: SearchSpec, base: MemberParams, folds: int) -> Iterator[Step]:
    """The steps of a population but the last one, which have the same number of epochs."""
    most = base.most_epochs
    if most is None or not base.can_change("lr"):
        raise ValueError(f"scheduler: pbt needs a network, but the member is {base.kind}; choose asha")
    if most == 1:
        raise ValueError("scheduler: pbt needs several epochs, but there is one; raise epochs")
    try:
        base.continuing(base, member="member", until=1)
    except ValueError as error:
        raise ValueError(f"scheduler: pbt writes earlier: {problem_of(error)}") from None
    for last in range(every := spec.every or max(1, round(most / _COMPARISONS)), most, every):
        yield Step(folds, last / most)


def _ascending(whole: int, reduction: float) -> list[int]:
    """The number of folds or epochs after each step: `whole`, and before it parts that shrink by `reduction`."""
    number = max(math.floor(math.log(2 * whole, reduction)), 0)
    return sorted({max(1, round(whole * reduction**-power)) for power in range(number + 1)})
