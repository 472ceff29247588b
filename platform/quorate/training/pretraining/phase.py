"""The pretraining phase: before the training, a network learns from images without their labels."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from quorate.registry import PRETRAININGS
from quorate.training.backbone import feature_width, without_head
from quorate.training.context import DelegatingContext, Diverged, Metrics, Signal, State, TaskContext
from quorate.training.feed import Feed, split_batches, training_order
from quorate.training.loop import History, autocast
from quorate.training.pretraining.objective import Objective, PretrainParams
from quorate.training.state import global_random_state, restore_global_random_state

_SEED = 0x5EED_0F_1A7E
"""Makes the draws of this phase differ from those of the training with the same seed."""
_WEIGHT_DECAY = 1e-6
"""Weight decay, as in SimCLR (Chen et al., 2020)."""


@dataclass
class PretrainingResult:
    """How a pretraining ended; `run` is the run context of the training that follows."""

    history: History
    run: TaskContext
    stopped: bool = False
    """Whether a report returned STOP, so that no training follows."""
    whole: bool = True
    """False if the deadline ended it early."""


class JoinedFeeds:
    """The images of several feeds as one feed."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = [feed for feed in feeds if len(feed)]

    def __len__(self) -> int:
        return sum(map(len, self._feeds))

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the images at positions `rows`; those of the first feed come first."""
        parts, before = [], 0
        for feed in self._feeds:
            own = rows[(rows >= before) & (rows < before + len(feed))] - before
            if len(own):
                parts.append(feed.batch(own))
            before += len(feed)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def pretrain(
    network: nn.Module,
    *,
    params: PretrainParams,
    feeds: Sequence[Feed],
    shape: tuple[int, int, int],
    training_rows: int,
    context: TaskContext,
) -> PretrainingResult:
    """Pretrain `network` in place, except for its head, on the images of `feeds`; `params` select the kind of
    pretraining.

    With a deadline, it ends early enough for the training, with all epochs on `training_rows` rows. Raises `Diverged`.
    """
    if context.restored is not None and context.restored.get("phase") != "pretraining":
        before: History = context.restored.get("pretrained", [])
        return PretrainingResult(before, _After(context, before, restored=context.restored))
    pool = JoinedFeeds(feeds)
    passes = PRETRAININGS.get(params.kind).passes
    with without_head(network) as encoder:
        width = feature_width(encoder, pool.batch(torch.arange(min(2, len(pool)))))
        objective: Objective = PRETRAININGS.get(params.kind).build(params, encoder=encoder, width=width, shape=shape)
        objective.to(context.numerics.device)
        progress = _Progress(objective, params, steps=_steps(len(pool), params), seed=context.seed)
        if context.restored is not None:
            progress.restore(context.restored)
        signal, cut = _train(progress, pool, context, reserve=lambda pace: pace / passes * training_rows)
        left = copy.deepcopy(progress.state()) if cut else None
    return PretrainingResult(
        progress.history, _After(context, progress.history, kept=left), signal is Signal.STOP, not cut
    )


class _Progress:
    """Everything that changes while a network is pretrained."""

    def __init__(self, objective: Objective, params: PretrainParams, *, steps: int, seed: int) -> None:
        self.objective, self.params = objective, params
        self.optimizer = AdamW(objective.parameters(), lr=params.lr, weight_decay=_WEIGHT_DECAY)
        self.schedule = CosineAnnealingLR(self.optimizer, T_max=params.epochs * steps)
        self.history: History = []
        self.epoch = self.step = 0
        self._seed = (seed ^ _SEED) % 2**63
        self._seconds_before = 0.0
        self._open_epoch()

    def order(self, rows: int) -> torch.Tensor:
        return training_order(torch.empty(rows), seed=self._seed, epoch=self.epoch)

    def close_epoch(self, figures: dict[str, float]) -> None:
        self.history.append(figures)
        self.epoch, self.step, self._seconds_before = self.epoch + 1, 0, 0.0
        self._open_epoch()

    def seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._since

    def _open_epoch(self) -> None:
        seed = (self._seed + 1_000_003 * (self.epoch + 1)) % 2**63
        torch.manual_seed(seed)  # dropout draws from torch's own stream
        self.generator = torch.Generator().manual_seed(seed)
        self.loss = torch.zeros((), dtype=torch.float64, device=next(self.objective.parameters()).device)
        self._since = time.perf_counter()

    def state(self) -> State:
        return {
            "phase": "pretraining",
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "pretrained": self.history,
            "history": [],
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds(),
            "loss": self.loss,
            "views": self.generator.get_state(),
            **global_random_state(),
        }

    def restore(self, saved: State) -> None:
        self.objective.load_state_dict(saved["objective"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.history = saved["pretrained"]
        self.epoch, self.step, self._seconds_before = saved["epoch"], saved["step"], saved["seconds"]
        self._open_epoch()
        self.loss.copy_(saved["loss"])
        self.generator.set_state(saved["views"])
        restore_global_random_state(saved)


def _train(
    progress: _Progress, pool: JoinedFeeds, context: TaskContext, *, reserve: Callable[[float], float]
) -> tuple[Signal, bool]:
    """Train the remaining epochs; return STOP if a report returned it, and whether the deadline ended the pretraining.

    `reserve` maps the seconds per image of this pretraining to the seconds to keep for the training.
    """
    begun, done = time.monotonic(), 0
    while progress.epoch < progress.params.epochs:
        batches = split_batches(progress.order(len(pool)), progress.params.batch_size)
        progress.objective.train()
        for rows in batches[progress.step :]:
            with autocast(context.numerics):
                loss = progress.objective.loss(pool.batch(rows), progress.generator)
            progress.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            progress.optimizer.step()
            progress.schedule.step()
            progress.loss += loss.detach().double() * len(rows)
            progress.step += 1
            done += len(rows)
            if progress.step == len(batches):
                break
            if context.report(None, progress.state) is Signal.STOP:
                return Signal.STOP, False
            if _must_end(context, reserve((time.monotonic() - begun) / done)):
                return Signal.CONTINUE, True
        figures = _figures(progress, len(pool))
        progress.close_epoch(figures)
        if context.report(figures, progress.state) is Signal.STOP:
            return Signal.STOP, False
        last = progress.epoch == progress.params.epochs
        if not last and _must_end(context, reserve((time.monotonic() - begun) / max(done, 1))):
            return Signal.CONTINUE, True
    return Signal.CONTINUE, False


def _must_end(context: TaskContext, reserve: float) -> bool:
    return context.deadline is not None and time.monotonic() + reserve >= context.deadline


def _figures(progress: _Progress, rows: int) -> dict[str, float]:
    loss, lr = float(progress.loss.cpu() / rows), float(progress.optimizer.param_groups[0]["lr"])
    if not math.isfinite(loss):
        raise Diverged(
            f"pretrain_loss is {loss} in epoch {progress.epoch + 1} of the pretraining at learning rate {lr:.3g}; "
            "try a tenth of pretrain.lr"
        )
    return {"pretrain_loss": loss, "lr": lr, "seconds": progress.seconds()}


def _steps(rows: int, params: PretrainParams) -> int:
    return len(split_batches(torch.arange(rows), params.batch_size))


class _After(DelegatingContext):
    """The run context of the training; its states record that the pretraining is over, and the metrics of the
    pretraining.

    If the deadline ended the pretraining early, checkpoints keep the state at that point, so that a later run with more
    time continues there.
    """

    def __init__(
        self, context: TaskContext, pretrained: History, *, restored: State | None = None, kept: State | None = None
    ) -> None:
        super().__init__(context, restored)
        self._pretrained, self._kept = pretrained, kept

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        return super().report(metrics, lambda: self._kept or {**state(), "pretrained": self._pretrained}, so_far)
