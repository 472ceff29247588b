"""Check whether a member can memorize a few rows, and explain the result if it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset, Rows
from quorate.data.table import Table
from quorate.diagnostics.first_fold import DetachedContext, FirstFold
from quorate.errors import UserError
from quorate.members.learner import Learner
from quorate.members.net import Net
from quorate.members.net_params import NetParams
from quorate.spec import MemberParams
from quorate.training.context import Diverged, Metrics
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


def memorize(subject: FirstFold, *, rows: int, epochs: int) -> OverfitTest:
    """Train a member on about `rows` class-balanced rows of its first fold until it has memorized them.

    A network is trained for at most `epochs` epochs, without augmentation, dropout, weight decay, label smoothing and
    learning rate schedule. Members of other kinds are trained as in the job. Raises `UserError` if the member cannot be
    trained.
    """
    few = balanced_subset(subject.train, rows=rows, seed=subject.task.seed)
    contradictions, possible = contradictory_rows(few)
    params = subject.task.params
    others: list[Attempt] = []
    if isinstance(params, NetParams):
        attempt = _train(subject, few, plain(params, epochs=epochs))
        if not attempt.memorized and not contradictions:
            rates = dict.fromkeys([*(min(params.lr * factor, 100.0) for factor in _FACTORS), *_USUAL])
            for rate in rates:
                if rate == params.lr:
                    continue
                others.append(_train(subject, few, plain(params, epochs=epochs, lr=rate)))
                if others[-1].memorized:
                    break
    else:
        attempt = _train(subject, few, params)
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


def _train(subject: FirstFold, few: Dataset, params: MemberParams) -> Attempt:
    seen: list[Metrics] = []
    rate = params.lr if isinstance(params, NetParams) else None

    def on_epoch(metrics: Metrics) -> bool:
        seen.append(metrics)
        return not (metrics["valid_accuracy"] == 1 and metrics["valid_loss"] < LOSS_BOUND)

    numerics = subject.task.numerics
    numerics = replace(numerics, batch_size=min(numerics.batch_size, len(few)))
    try:
        # The rows are also the validation rows, which are scored without augmentation, in prediction mode.
        member = subject.untrained(params).fit(few, few, DetachedContext(subject.task.seed, numerics, on_epoch))
    except Diverged:
        last = seen[-1] if seen else {"valid_accuracy": 0.0, "valid_loss": float("inf")}
        return Attempt(False, last["valid_accuracy"], last["valid_loss"], len(seen), rate, diverged=True)
    except ValueError as error:
        raise UserError(f"{subject.task.member} cannot be trained on {len(few)} rows: {error}") from error
    if isinstance(member, Net):
        last = seen[-1]
        right, loss = last["valid_accuracy"], last["valid_loss"]
        return Attempt(right == 1 and loss < LOSS_BOUND, right, loss, len(seen), rate)
    proba = member.predict_proba(few.x).astype(np.float64)
    right = float((_classes_of(member, few, proba) == few.y).mean())
    loss = float(-np.log(np.maximum(proba[np.arange(len(few)), few.y], 1e-12)).mean())
    return Attempt(right == 1, right, loss, max(len(seen), 1), rate)


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
