"""Check whether a member can memorize a few rows, and explain the result if it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset, Rows
from quorate.data.table import Table
from quorate.diagnostics.first_fold import FirstFold
from quorate.execution.events import Failed, Reported
from quorate.job.fits import FitRunner, FitSession, raise_failure
from quorate.members.base import member_of
from quorate.members.learner import Learner
from quorate.members.net_params import NetParams
from quorate.plan.identity import digest
from quorate.plan.procedures import by_procedure
from quorate.results.results import Fit
from quorate.spec import MemberParams
from quorate.training.context import Metrics
from quorate.training.procedures import Memorization
from quorate.training.schedules import ConstantParams

LOSS_BOUND = 0.05
"""Loss in nats below which rows count as memorized: exp(-0.05) is 0.95, about the mean probability of the true class. A
high accuracy alone is not enough. An assumption, not a measurement."""
_FACTORS, _USUAL = (0.1, 10.0), (1e-2, 1e-3)
"""Learning rates to try if that of the job fails, to distinguish a wrong learning rate from other causes: the job's
rate times these factors, and rates that suit most networks. Assumptions, not measurements."""

_PLAIN: dict[str, Any] = {
    "dropout": 0.0,
    "weight_decay": 0.0,
    "l1": 0.0,
    "max_norm": None,
    "label_smoothing": 0.0,
    "early_stopping": None,
    "sampling": None,
    "class_weight": None,
    "ema": None,
    "swa": None,
    "snapshots": 1,
    "accumulate": 1,
    "mc_dropout": 0,
    "tta": None,
    "pretrain": None,
}
"""Parameter values that switch off everything that prevents memorizing; each is set if the network has the
parameter."""
_DROPS = ("dropout", "drop_rate", "drop_path", "drop_path_rate")
"""Dropout parameters of architectures."""


@dataclass(frozen=True)
class Attempt:
    """One training run on the few rows; the metrics are those of the last epoch on the same rows, without
    augmentation."""

    memorized: bool
    accuracy: float
    loss: float
    epochs: int
    rate: float | None = None
    """The learning rate; None for members without one."""
    diverged: bool = False


@dataclass(frozen=True)
class OverfitTest:
    """The result of the test for one member."""

    member: str
    kind: str
    rows: int
    classes: int
    """Number of classes of the rows."""
    attempt: Attempt
    others: tuple[Attempt, ...]
    """Attempts with other learning rates, if the job's rate failed."""
    contradictions: int
    """Number of rows that are equal to a row with a different label."""
    best_possible: float
    """The highest accuracy that is possible despite these contradictions."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "memorized": self.attempt.memorized, "bound": LOSS_BOUND, "says": list(sentences(self))}


def memorize(subject: FirstFold, runner: FitRunner, *, rows: int, epochs: int) -> OverfitTest:
    """Train a member on about `rows` class-balanced rows of its first fold until it has memorized them.

    A network is trained for at most `epochs` epochs, without augmentation, dropout, weight decay, label smoothing and
    learning rate schedule. Members of other kinds are trained as in the job. Raises `UserError` if the member cannot be
    trained.
    """
    few = balanced_subset(subject.train, rows=rows, seed=subject.task.seed)
    contradictions, possible = contradictory_rows(few)
    params = subject.task.params
    others: list[Attempt] = []
    with runner.session(subject.data(few, np.arange(len(few))), subject.execution) as session:
        attempts = _Attempts(subject, few, session)
        if isinstance(params, NetParams):
            attempt = attempts.train(plain(params, epochs=epochs))
            if not attempt.memorized and not contradictions:
                rates = dict.fromkeys([*(min(params.lr * factor, 100.0) for factor in _FACTORS), *_USUAL])
                for rate in rates:
                    if rate == params.lr:
                        continue
                    others.append(attempts.train(plain(params, epochs=epochs, lr=rate)))
                    if others[-1].memorized:
                        break
        else:
            attempt = attempts.train(params)
    return OverfitTest(
        member=subject.task.member,
        kind=subject.task.kind,
        rows=len(few),
        classes=len(np.unique(few.y)),
        attempt=attempt,
        others=tuple(others),
        contradictions=contradictions,
        best_possible=possible,
    )


def balanced_subset(data: Dataset, *, rows: int, seed: int) -> Dataset:
    """At most `rows` distinct rows, with equal numbers per class if the classes have enough rows.

    If there are more than `rows / 2` classes, `rows / 2` of them are drawn.
    """
    random = np.random.default_rng(seed)
    classes = random.permutation(np.unique(data.y))[: max(2, rows // 2)]
    turns = [random.permutation(np.flatnonzero(data.y == label)) for label in np.sort(classes)]
    chosen: list[int] = []
    for turn in range(max(map(len, turns))):
        chosen += [int(own[turn]) for own in turns if turn < len(own) and len(chosen) + 1 <= rows]
    picked: Rows = np.sort(np.array(chosen[:rows], np.int64))
    return data.take(picked)


def contradictory_rows(data: Dataset) -> tuple[int, float]:
    """Number of rows that are equal to a row of another class, and the highest accuracy that is then possible."""
    groups: dict[bytes, list[int]] = {}
    for content, label in zip(_contents(data), data.y, strict=True):
        groups.setdefault(content, []).append(int(label))
    clashing = [labels for labels in groups.values() if len(set(labels)) > 1]
    best = sum(max(labels.count(label) for label in set(labels)) for labels in groups.values())
    return sum(map(len, clashing)), best / len(data)


def plain(params: NetParams, *, epochs: int, lr: float | None = None) -> NetParams:
    """The parameters of a network without regularization, augmentation and schedule."""
    fields, arch = type(params).model_fields, params.arch
    update = {name: value for name, value in _PLAIN.items() if name in fields}
    update |= {"augment": fields["augment"].get_default(call_default_factory=True), "schedule": ConstantParams()}
    if params.finetune is not None and params.finetune.freeze != "backbone":
        update["finetune"] = None
    drops = {name: 0.0 for name in _DROPS if name in type(arch).model_fields}
    update["arch"] = arch.model_copy(update=drops) if drops else arch
    return params.model_copy(update={**update, "epochs": epochs, "lr": lr or params.lr})


def sentences(memory: OverfitTest) -> Iterator[str]:
    """The result in sentences, with an explanation if the rows were not memorized."""
    done, few = memory.attempt, f"{memory.rows} rows of {memory.classes} classes"
    network = done.rate is not None
    after = f" after {done.epochs} epoch{'s' * (done.epochs != 1)}" if network else ""
    figures = f"accuracy {done.accuracy:.3f}, loss {done.loss:.4f} on the training rows"
    if done.memorized:
        yield f"{memory.member} has memorized {few}{after}: {figures}"
        return
    yield f"{memory.member} has not memorized {few}{after}: {figures}" + (
        "; the training diverged" if done.diverged else ""
    )
    if memory.contradictions:
        yield (
            f"labels: {memory.contradictions} of these rows have a duplicate with another label, so no "
            f"classifier can have an accuracy above {memory.best_possible:.3f}; correct the labels of the duplicates"
        )
    if not network:
        yield from _of_learners(memory)
        return
    better = next((other for other in memory.others if other.memorized), None)
    if better is not None:
        assert done.rate is not None and better.rate is not None
        what = "too high" if better.rate < done.rate else "too low"
        yield (
            f"learning rate: {done.rate:g} is {what}: at {better.rate:g} the rows were memorized after {better.epochs} "
            f"epochs; set lr close to that, or run `quorate lr-find`"
        )
    elif memory.others and done.accuracy == 1:
        yield "all rows are predicted correctly and the loss still falls: use more --epochs or a higher lr"
    elif memory.others:
        rates = ", ".join(f"{other.rate:g} (accuracy {other.accuracy:.3f})" for other in memory.others)
        yield f"learning rate: not the only cause, because these rates fail too: {rates}"
        yield (
            "architecture: it may be too small, or lose information from the input (a small `size`, frozen weights, an "
            "unsuitable `standardize`); try a wider one"
        )
        yield (
            "labels and rows: check some of them (`quorate augment`, or the files); the inputs may lack what "
            "distinguishes the classes"
        )


def _of_learners(memory: OverfitTest) -> Iterator[str]:
    if not memory.contradictions:
        yield (
            f"a member of kind {memory.kind} that cannot separate its own training rows is too simple or too "
            "regularized for them. This is expected for kinds that average over rows (nearest neighbours, naive Bayes, "
            "forests with large leaves); for other kinds, regularize less, and check labels and `standardize`"
        )


class _Attempts:
    """Trains a member on a few rows, which are also the validation rows: these are scored without augmentation."""

    def __init__(self, subject: FirstFold, few: Dataset, session: FitSession) -> None:
        self._subject, self._few, self._session = subject, few, session
        self._rows = digest(rows=[hashlib.sha256(row).hexdigest() for row in _contents(few)], labels=few.y.tolist())

    def train(self, params: MemberParams) -> Attempt:
        """Train with these parameters; raises `UserError` if that is impossible."""
        network = isinstance(params, NetParams)
        rate = params.lr if isinstance(params, NetParams) else None
        numerics = self._subject.task.numerics
        task = by_procedure(
            self._subject.task,
            Memorization(LOSS_BOUND) if network else None,
            label=self._subject.task.member,
            params=params,
            numerics=replace(numerics, batch_size=min(numerics.batch_size, len(self._few))),
            rows=self._rows,
        )
        seen: dict[int, Metrics] = {}
        fit: Fit | None = None
        self._session.submit([task])
        for outcome in self._session.outcomes():
            if isinstance(outcome, Reported):
                seen[outcome.epoch] = outcome.metrics
            elif isinstance(outcome, Failed) and outcome.status == "diverged":
                last = seen[max(seen)] if seen else {"valid_accuracy": 0.0, "valid_loss": float("inf")}
                epochs = max(seen, default=0)
                return Attempt(False, last["valid_accuracy"], last["valid_loss"], epochs, rate, diverged=True)
            elif isinstance(outcome, Failed):
                raise_failure(outcome, task.member, on=f"on {len(self._few)} rows")
            elif isinstance(outcome, Fit):
                fit = outcome
        assert fit is not None, "without a failure or a signal, there is a result"
        return self._of_network(fit, rate) if network else self._of_other(fit)

    def _of_network(self, fit: Fit, rate: float | None) -> Attempt:
        last = fit.history[-1]
        right, loss = last["valid_accuracy"], last["valid_loss"]
        return Attempt(Memorization(LOSS_BOUND).reached(last), right, loss, len(fit.history), rate)

    def _of_other(self, fit: Fit) -> Attempt:
        few, proba = self._few, fit.valid.astype(np.float64)
        member = member_of(self._session.files(fit))
        right = float((_classes_of(member, few, proba) == few.y).mean())
        loss = float(-np.log(np.maximum(proba[np.arange(len(few)), few.y], 1e-12)).mean())
        return Attempt(right == 1, right, loss, max(len(fit.history), 1))


def _classes_of(member: Any, few: Dataset, proba: NDArray[np.float64]) -> NDArray[np.int64]:
    """The classes that a member predicts before its own calibration, which cannot be fitted on so few rows."""
    calibrated = getattr(member.model, "calibrated_classifiers_", None) if isinstance(member, Learner) else None
    if calibrated is None:
        classes: NDArray[np.int64] = proba.argmax(axis=1)
        return classes
    chosen: NDArray[np.int64] = calibrated[0].estimator.predict(member.features(few.x))
    return chosen


def _contents(data: Dataset) -> Iterator[bytes]:
    """The content of each row as bytes."""
    rows = np.arange(len(data))
    if isinstance(data.x, Table):
        for row in rows:
            yield data.x.subset(rows[row : row + 1]).digest().encode()
    else:
        for pixels in data.x.take(rows):
            yield pixels.tobytes()
