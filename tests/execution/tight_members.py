"""Networks on an imagined accelerator with little memory, importable by Ray workers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch

from quorate.data.dataset import Dataset
from quorate.members.net import Net
from quorate.members.net_params import NetParams
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import TaskContext


class TightParams(NetParams):
    kind: Literal["tight"] = "tight"  # type: ignore[assignment]
    largest: int = 32
    """The largest batch that fits."""


@MEMBERS.register("tight")
class Tight(Net):
    """A network whose accelerator is out of memory with larger batches than `largest`."""

    Params: ClassVar[type[MemberParams]] = TightParams

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        assert isinstance(self.params, TightParams)
        if context.numerics.batch_size > self.params.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().fit(train, valid, context)
