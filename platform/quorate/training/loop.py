"""The training loop: epochs of batches, validated, reported, resumable at any batch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quorate.kinds import Spec
from quorate.training.augment import Augment
from quorate.training.curves import Tally
from quorate.training.feed import Feed, split_batches, training_order
from quorate.training.mixing import Mixed, mix
from quorate.training.run import Diverged, Numerics, Run, Signal, State

History = list[dict[str, float]]
"""One dictionary of figures an epoch."""

Labelled = tuple[Feed, torch.Tensor]
"""Rows and their labels, int64 (N,), on the device."""


class EarlyStopping(Spec):
    """End when the validation loss has not improved for a while; the best epoch is restored."""

    patience: int = Field(5, ge=1)
    """Epochs without improvement after which training ends."""
    min_delta: float = Field(0.0, ge=0)
    """Least decrease of the validation loss that counts, in nats."""


@dataclass(frozen=True)
class Recipe:
    """What the loop is asked to do; `schedule` takes (optimizer, epochs, steps an epoch)."""

    epochs: int
    optimizer: Callable[[nn.Module], Optimizer]
    schedule: Callable[[Optimizer, int, int], LRScheduler]
    augment: Augment | None = None
    early_stopping: EarlyStopping | None = None
    label_smoothing: float = 0.0
    weight: torch.Tensor | None = None
    """Of each training row, float32 (N,) with a mean of 1, on the device; None counts all the same."""
    balanced: bool = False
    """Whether each epoch draws the classes equally often."""


@dataclass
class Best:
    """The weights of the epoch with the least validation loss."""

    loss: float = math.inf
    epoch: int = -1
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


class Training:
    """Everything that changes while a network trains, as one state that can be saved and restored."""

    def __init__(self, network: nn.Module, *, n_classes: int, recipe: Recipe, steps: int, seed: int) -> None:
        self.network = network
        self.optimizer = recipe.optimizer(network)
        self.schedule = recipe.schedule(self.optimizer, recipe.epochs, steps)
        self.history: History = []
        self.best = Best()
        self.epoch = self.step = 0
        self._seed, self._n_classes = seed, n_classes
        self._seconds_before = 0.0
        self._open_epoch()

    def order(self, labels: torch.Tensor, *, balanced: bool) -> torch.Tensor:
        """The rows of this epoch in their order, as many as there are labels."""
        return training_order(labels, seed=self._seed, epoch=self.epoch, balanced=balanced)

    def close_epoch(self, figures: dict[str, float], min_delta: float) -> None:
        """Keep the epoch's figures, and its weights if they are the best; go to the next epoch."""
        self.history.append(figures)
        if figures["valid_loss"] < self.best.loss - min_delta:
            weights = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
            self.best = Best(figures["valid_loss"], self.epoch, weights)
        self.epoch, self.step, self._seconds_before = self.epoch + 1, 0, 0.0
        self._open_epoch()

    def seconds(self) -> float:
        """Seconds spent in this epoch, interruptions left out."""
        return self._seconds_before + time.perf_counter() - self._since

    def _open_epoch(self) -> None:
        seed = (self._seed + 1_000_003 * (self.epoch + 1)) % 2**63
        torch.manual_seed(seed)  # dropout draws from torch's own stream
        self.generator = torch.Generator().manual_seed(seed)
        self.tally = Tally(self._n_classes, next(self.network.parameters()).device)
        self._since = time.perf_counter()

    def state(self) -> State:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": vars(self.best),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds(),
            "tally": self.tally.state(),
            "augment": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        }

    def restore(self, saved: State) -> None:
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.history = saved["history"]
        self.best = Best(**saved["best"])
        self.epoch, self.step, self._seconds_before = saved["epoch"], saved["step"], saved["seconds"]
        self._open_epoch()
        self.tally.restore(saved["tally"])
        self.generator.set_state(saved["augment"])
        torch.set_rng_state(saved["random"])
        if saved["cuda_random"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["cuda_random"])


def fit_network(
    network: nn.Module, *, train: Labelled, valid: Labelled, n_classes: int, recipe: Recipe, run: Run
) -> History:
    """Train `network` in place and give one dictionary of figures an epoch.

    With early stopping the weights of the best epoch are restored. Without it those of the last epoch
    stay, unless the world asks to stop: then the best so far are taken. Raises `Diverged`.
    """
    steps = len(split_batches(torch.arange(len(train[0])), run.numerics.batch_size))
    training = Training(network, n_classes=n_classes, recipe=recipe, steps=steps, seed=run.seed)
    if run.restored is not None:
        training.restore(run.restored)
    stopping = recipe.early_stopping
    min_delta = stopping.min_delta if stopping else 0.0

    signal = Signal.CONTINUE
    while signal is not Signal.STOP and training.epoch < recipe.epochs:
        if stopping and training.epoch - training.best.epoch > stopping.patience:
            break
        signal = _train_epoch(training, train, recipe, run)
        if signal is Signal.STOP:
            break
        figures = training.tally.figures("train") | evaluate(
            network, *valid, n_classes=n_classes, numerics=run.numerics
        )
        figures |= {"lr": float(training.optimizer.param_groups[0]["lr"]), "seconds": training.seconds()}
        _check_finite(figures, training.epoch)
        training.close_epoch(figures, min_delta)
        signal = run.report(figures, training.state)

    if training.best.weights and (stopping or signal is Signal.STOP):
        network.load_state_dict(training.best.weights)
    return training.history


def _train_epoch(training: Training, train: Labelled, recipe: Recipe, run: Run) -> Signal:
    """The batches of one epoch from `training.step` on; STOP when the world asked to stop in between."""
    feed, labels = train
    network, optimizer = training.network, training.optimizer
    batches = split_batches(training.order(labels, balanced=recipe.balanced), run.numerics.batch_size)
    network.train()
    for rows in batches[training.step :]:
        x, y = feed.batch(rows, recipe.augment, training.generator), labels[rows.to(labels.device)]
        mixed = _mixed(x, y, rows, recipe, training)
        if mixed is not None:
            x, y = mixed.x, mixed.y
        with autocast(run.numerics):
            logits = network(x)
        loss = training_loss(logits, y, rows, recipe) if mixed is None else mixed.loss(logits, recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        training.schedule.step()
        training.tally.add(loss, logits, y)
        training.step += 1
        if training.step < len(batches) and run.report(None, training.state) is Signal.STOP:
            return Signal.STOP
    return Signal.CONTINUE


def _mixed(x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, recipe: Recipe, training: Training) -> Mixed | None:
    """The batch with its rows mixed, None where the recipe does not ask for it."""
    if recipe.augment is None or not (kinds := recipe.augment.mixing):
        return None
    weight = None if recipe.weight is None else recipe.weight[rows.to(y.device)]
    n_classes = len(training.tally.confusion)
    return mix(kinds, x, y, n_classes=n_classes, weight=weight, generator=training.generator)


def training_loss(logits: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Mean of the rows' cross-entropies, each times its weight.

    The weights have a mean of 1 over the fold, not over the batch: a batch of rows that count little
    makes a small step.
    """
    if recipe.weight is None:
        return functional.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing)
    losses = functional.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing, reduction="none")
    return (losses * recipe.weight[rows.to(y.device)]).mean()


@torch.inference_mode()
def evaluate(
    network: nn.Module, feed: Feed, labels: torch.Tensor, *, n_classes: int, numerics: Numerics
) -> dict[str, float]:
    """Loss, accuracy, macro precision and recall on labelled rows that all count the same, as trained in precision."""
    network.eval()
    tally = Tally(n_classes, labels.device)
    size = max(256, numerics.batch_size)
    for x, y in zip(feed.batches(size), labels.split(size), strict=True):
        with autocast(numerics):
            logits = network(x)
        tally.add(functional.cross_entropy(logits.float(), y), logits, y)
    return tally.figures("valid")


@torch.inference_mode()
def predict(network: nn.Module, feed: Feed, *, size: int = 256) -> torch.Tensor:
    """Class probabilities, float32 (N, K) on the CPU; always computed in float32."""
    network.eval()
    return torch.cat([functional.softmax(network(x).float(), dim=1).cpu() for x in feed.batches(size)])


def autocast(numerics: Numerics) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where the plan resolved it, else nothing."""
    if numerics.precision == "bfloat16":
        return torch.autocast(numerics.device, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _check_finite(figures: dict[str, float], epoch: int) -> None:
    for name in ("train_loss", "valid_loss"):
        if not math.isfinite(figures[name]):
            raise Diverged(
                f"{name} is {figures[name]} in epoch {epoch + 1} at learning rate {figures['lr']:.3g}; "
                "try a tenth of the rate"
            )
