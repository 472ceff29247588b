"""A kind of member that trains several copies in one model, importable by Ray workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from quorate.data.dataset import Dataset, Images
from quorate.data.signature import Signature
from quorate.members.base import Member, PackedFit, Proba, write_header
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import Diverged, Hardware, Numerics, Signal, TaskContext


class StackParams(MemberParams):
    kind: Literal["stack"] = "stack"
    epochs: int = 5
    diverges_in_copy: int = -1
    """The position of a copy whose loss is not finite in its second epoch."""
    forgets: bool = False
    """Whether it ends after the first copy."""

    @property
    def most_epochs(self) -> int:
        return self.epochs


@MEMBERS.register("stack")
class Stack(Member):
    """Softmax regression by gradient descent; the weights of all copies are one array (copies, features, classes).

    NumPy multiplies the matrices of a stack one by one, so that a copy gets the same bits as alone.
    """

    Params: ClassVar[type[MemberParams]] = StackParams
    version: ClassVar[int] = 1
    packs: ClassVar[bool] = True
    sizes: ClassVar[list[int]] = []
    """How many members each call of `fit_many` in this process was given."""

    def __init__(self, params: StackParams, *, signature: Signature, n_classes: int) -> None:
        self.params, self.n_classes = params, n_classes
        self.history: list[dict[str, float]] = []
        self.finished = True

    @classmethod
    def numerics(cls, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        return Numerics()

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        return 1.0

    def fit(self, train: Dataset, valid: Dataset, run: TaskContext) -> Self:
        for _, error in self.fit_many([PackedFit(self, train, valid, run)]):
            if error is not None:
                raise error
        return self

    @classmethod
    def fit_many(cls, fits: Sequence[PackedFit]) -> Iterator[tuple[int, Exception | None]]:
        cls.sizes.append(len(fits))
        members: list[Any] = [fit.member for fit in fits]
        x, y = _pixels(fits[0].train.x), np.eye(members[0].n_classes)[fits[0].train.y]
        assert all(np.array_equal(fit.train.y, fits[0].train.y) for fit in fits), "the copies share their rows"
        weights = np.stack([cls._first(fit, x.shape[1]) for fit in fits])
        left = list(range(len(fits)))
        while left:
            proba = _softmax(x @ weights[left])
            weights[left] -= 0.1 * (x.T @ (proba - y)) / len(x)
            for place, i in enumerate(list(left)):
                answer, error = cls._report(i, fits[i], weights[i], proba[place])
                if error is not None or answer is Signal.STOP or len(members[i].history) == members[i].params.epochs:
                    members[i].weights, members[i].finished = weights[i].copy(), answer is not Signal.STOP
                    left.remove(i)
                    yield i, error
                    if members[i].params.forgets:
                        return

    @classmethod
    def _first(cls, fit: PackedFit, features: int) -> Any:
        member: Any = fit.member
        restored = fit.context.restored
        if restored is not None:
            member.history = list(restored["history"])
            return np.asarray(restored["weights"], np.float64)
        return np.random.default_rng(fit.context.seed).normal(0, 0.01, (features, member.n_classes))

    @classmethod
    def _report(cls, i: int, fit: PackedFit, weights: Any, proba: Any) -> tuple[Signal, Exception | None]:
        member: Any = fit.member
        if i == member.params.diverges_in_copy and len(member.history) == 1:
            return Signal.CONTINUE, Diverged("train_loss is nan in epoch 2")
        loss = float(-np.log(proba[np.arange(len(proba)), fit.train.y]).mean())
        member.history.append({"train_loss": loss, "valid_loss": loss, "valid_accuracy": 0.5})
        state = {"history": member.history, "weights": weights.copy()}
        return fit.context.report(member.history[-1], lambda: state), None

    def predict_proba(self, x: Images) -> Proba:
        return _softmax(_pixels(x) @ self.weights).astype(np.float32)

    def save(self, folder: Path) -> None:
        write_header(folder, params=self.params)
        np.save(folder / "weights.npy", self.weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise AssertionError("not needed")


def _pixels(x: Any) -> Any:
    rows = x.take(np.arange(len(x)))
    return rows.reshape(len(rows), -1) / 255


def _softmax(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
