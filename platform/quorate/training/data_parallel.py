"""Train one network in several processes: each trains a part of every batch, and they all take the same steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from quorate.training.curves import Tally
from quorate.training.synced_normalization import SyncedBatchNorm

LEAST_ROWS = 2
"""Rows of a batch per worker: batch normalization cannot train on a single row."""


@dataclass(frozen=True)
class BatchPart:
    """The rows of a batch that one worker trains."""

    rows: torch.Tensor
    factor: float
    """What the mean loss of the rows is multiplied by, so that the mean of the workers' gradients is the gradient of
    the mean loss of the batch."""
    shared: bool
    """Whether the batch was split. A batch with fewer than `LEAST_ROWS` rows per worker is not: each trains all of
    it."""


class DataParallel:
    """The processes that train one network together. They have equal weights and make equal decisions.

    The order of the rows does not depend on their number: worker r of N trains the rows r, r + N, r + 2 N ... of each
    batch. So the gradients are those of a single process, within the rounding of their sums. Statistics of batch
    normalizations are those of each worker's rows unless `normalizing` is told to share them; the network keeps those
    of the first worker.
    """

    def __init__(self, rank: int = 0, workers: int = 1) -> None:
        self.rank, self.workers = rank, workers
        self._wrapped: DistributedDataParallel | None = None
        self._trained: list[bool] = []

    @classmethod
    def of_process(cls) -> DataParallel:
        """Read torch's process group; a process that belongs to none trains alone."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def alone(self) -> bool:
        return self.workers == 1

    def part(self, rows: torch.Tensor) -> BatchPart:
        """Return the part of this worker of a batch with these rows."""
        if self.alone or len(rows) < LEAST_ROWS * self.workers:
            return BatchPart(rows, 1.0, shared=False)
        own = rows[self.rank :: self.workers]
        return BatchPart(own, self.workers * len(own) / len(rows), shared=True)

    def counts(self, part: BatchPart) -> bool:
        """Whether this worker counts the rows of the part: one worker counts a batch that all have trained."""
        return part.shared or self.rank == 0

    def forward(self, network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the network with gradients that are averaged over the workers in the backward pass.

        Which parameters are trained is read now. `find_unused_parameters` also keeps torch from changing its buckets
        after the first step, which would change the order of sums in a training that is resumed.
        """
        if self.alone:
            return network
        trained = [weight.requires_grad for weight in network.parameters()]
        if self._wrapped is None or trained != self._trained:
            self._wrapped, self._trained = DistributedDataParallel(network, find_unused_parameters=True), trained
        return self._wrapped

    def averaging(self, *, now: bool) -> contextlib.AbstractContextManager[None]:
        """Average the gradients in the backward pass in this context if `now`; otherwise they are added up, as those of
        a batch that is not the last one before a step."""
        if self._wrapped is None or now:
            return contextlib.nullcontext()
        waiting: contextlib.AbstractContextManager[None] = self._wrapped.no_sync()
        return waiting

    def normalizing(self, part: BatchPart, *, together: bool) -> contextlib.AbstractContextManager[object]:
        """If `together`, batch normalizations in this context use the statistics of the whole batch."""
        return SyncedBatchNorm() if together and part.shared else contextlib.nullcontext()

    def seed(self, *parts: int) -> int | None:
        """Return a seed of this worker for random numbers, determined by `parts`; None for a single process, whose
        stream of random numbers continues."""
        if self.alone:
            return None
        return int(np.random.SeedSequence((*parts, self.rank)).generate_state(1, np.uint64)[0]) % 2**63

    def summed(self, tally: Tally) -> Tally:
        """Return the sum of the workers' tallies."""
        if self.alone:
            return tally
        total = tally.copy()
        for tensor in (total.loss, total.confusion):
            distributed.all_reduce(tensor)
        return total

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of the workers' tensors."""
        if not self.alone:
            distributed.all_reduce(tensor)
        return tensor

    def agreed(self, figures: dict[str, float], device: torch.device) -> dict[str, float]:
        """Return the figures of the first worker."""
        if self.alone:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=device)
        distributed.broadcast(values, 0)
        return dict(zip(figures, values.tolist(), strict=True))

    def share_buffers(self, network: nn.Module) -> None:
        """Give all workers the buffers of the first one, such as statistics of batch normalizations."""
        for buffer in () if self.alone else network.buffers():
            distributed.broadcast(buffer, 0)

    def own(self, pieces: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
        """Yield the pieces that this worker evaluates."""
        yield from pieces[self.rank :: self.workers]
