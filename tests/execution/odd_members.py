"""Member kinds that misbehave on purpose, importable by Ray workers."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from quorate.data.dataset import Dataset, Images
from quorate.data.signature import Signature
from quorate.errors import UserError
from quorate.members.base import Member, Proba, write_header
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import Diverged, Hardware, Numerics, Signal, TaskContext

What = Literal[
    "well", "raise", "raise_once", "refuse", "diverge", "die_once", "wait", "stop_once", "hang_once", "swell",
    "exit", "one_class_less", "no_number",
]  # fmt: skip


class OddParams(MemberParams):
    kind: Literal["odd"] = "odd"
    what: What = "well"
    mark: str = ""
    """A file that distinguishes the first attempt from later ones."""
    seconds: float = 0.0
    price: float = 1.0


@MEMBERS.register("odd")
class Odd(Member):
    """Predicts the class frequencies, or does what `what` says."""

    Params: ClassVar[type[MemberParams]] = OddParams
    version: ClassVar[int] = 1

    def __init__(self, params: OddParams, *, signature: Signature, n_classes: int) -> None:
        self.params, self.n_classes = params, n_classes
        self.history: list[dict[str, float]] = []

    @classmethod
    def numerics(cls, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        return Numerics()

    @classmethod
    def cost(cls, params: OddParams, *, signature: Signature, rows: int, n_classes: int) -> float:
        return params.price

    def fit(self, train: Dataset, valid: Dataset, run: TaskContext) -> Self:
        first = self._first_attempt()
        match self.params.what:
            case "raise":
                raise RuntimeError("this member always raises")
            case "refuse":
                raise UserError("the rows have no weights; add a column of weights")
            case "raise_once" if first:
                raise RuntimeError("this member raises once")
            case "diverge":
                raise Diverged("train_loss is nan in epoch 3 at learning rate 100")
            case "die_once" if first:
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop_once" if first:
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang_once" if first:
                time.sleep(300)
            case "exit":
                sys.exit(3)
            case "no_number":
                run.report({"train_loss": "low"}, dict)  # type: ignore[dict-item]
            case "swell":
                self._swell()
            case "wait":
                self._wait(run)
        time.sleep(self.params.seconds)
        self.frequencies = (np.bincount(train.y, minlength=self.n_classes) / len(train.y)).astype(np.float32)
        self.history = [{"valid_loss": 1.0, "train_loss": 1.0, "valid_accuracy": 0.1}]
        run.report(self.history[0], dict)
        return self

    def predict_proba(self, images: Images) -> Proba:
        proba = np.tile(self.frequencies, (len(images), 1))
        return proba[:, 1:] if self.params.what == "one_class_less" else proba

    def save(self, folder: Path) -> None:
        write_header(folder, params=self.params)
        np.save(folder / "frequencies.npy", self.frequencies)

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise AssertionError("not needed")

    def _first_attempt(self) -> bool:
        if not self.params.mark:
            return True
        mark = Path(self.params.mark)
        first = not mark.exists()
        mark.touch()
        return first

    def _swell(self) -> None:
        """Take 100 MB of memory 20 times a second, at most 5 GB."""
        taken = []
        for _ in range(50):
            taken.append(np.ones(100_000_000, dtype=np.uint8))
            time.sleep(0.05)
        raise AssertionError("nothing has ended this worker")

    def _wait(self, run: TaskContext) -> None:
        """Report continuously until a report returns STOP, for at most a minute."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if run.report(None, lambda: {"history": [], "waited": True}) is Signal.STOP:
                return
            time.sleep(0.01)
