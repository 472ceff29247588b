"""A kind of member whose files are large, to measure where they go."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from tests.benchmarks.idle_member import Idle

from quorate.data.dataset import Dataset
from quorate.members.base import write_header
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import TaskContext


class HeavyParams(MemberParams):
    kind: Literal["heavy"] = "heavy"
    megabytes: int = 200


@MEMBERS.register("heavy")
class Heavy(Idle):
    """Learns nothing; its weights are random bytes that differ from task to task."""

    Params: ClassVar[type[MemberParams]] = HeavyParams
    params: HeavyParams

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        self._seed = context.seed
        return self

    def save(self, folder: Path) -> None:
        write_header(folder, params=self.params)
        content = np.random.default_rng(self._seed).bytes(self.params.megabytes << 20)
        (folder / "weights.bin").write_bytes(content)
