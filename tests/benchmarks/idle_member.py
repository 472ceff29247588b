"""A kind of member that does nothing, to measure everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from quorate.data.dataset import Dataset, Inputs
from quorate.data.signature import Signature
from quorate.members.base import Member, Proba, write_header
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import Hardware, Numerics, TaskContext


class IdleParams(MemberParams):
    kind: Literal["idle"] = "idle"


@MEMBERS.register("idle")
class Idle(Member):
    """Learns nothing and gives every class the same probability."""

    Params: ClassVar[type[MemberParams]] = IdleParams
    version: ClassVar[int] = 1

    def __init__(self, params: IdleParams, *, signature: Signature, n_classes: int) -> None:
        self.params, self.n_classes = params, n_classes
        self.history: list[dict[str, float]] = []

    @classmethod
    def numerics(cls, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        return Numerics()

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        return 1.0

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        return self

    def predict_proba(self, x: Inputs) -> Proba:
        return np.full((len(x), self.n_classes), 1 / self.n_classes, np.float32)

    def save(self, folder: Path) -> None:
        write_header(folder, params=self.params)

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise AssertionError("nothing loads it")
