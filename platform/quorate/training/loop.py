"""The training loop: epochs of batches, validated, reported, and resumable at any batch."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

from quorate.training.augment import Augment
from quorate.training.averages import Averages, Swa, Weights, copy_of
from quorate.training.context import ENDED, OTHER_PARAMETERS, Diverged, Numerics, Signal, State, TaskContext
from quorate.training.curves import Tally
from quorate.training.data_parallel import DataParallel
from quorate.training.feed import Feed, split_batches, training_order
from quorate.training.mc_dropout import ThinnedNetwork
from quorate.training.mixing import MixedBatch, mix
from quorate.training.schedule import Schedule, WatchesEpochs
from quorate.training.several_predictions import each_prediction, mean_logits
from quorate.training.soft_labels import SoftLabels
from quorate.training.soundness import unsound
from quorate.training.state import global_random_state, restore_global_random_state
from quorate.training.step import Constraints, penalty, take_step
from quorate.training.stopping import BestEpoch, EarlyStopping, as_loss, calibrated_loss

History = list[dict[str, float]]
"""One dictionary of metrics per epoch."""

Labelled = tuple[Feed, torch.Tensor]
"""Rows and their labels, int64 (N,), on the device."""


@dataclass(frozen=True)
class LoopSettings:
    """The settings of the loop; `schedule` takes (optimizer, epochs, steps per epoch)."""

    epochs: int
    optimizer: Callable[[nn.Module], Optimizer]
    schedule: Callable[[Optimizer, int, int], Schedule]
    augment: Augment | None = None
    early_stopping: EarlyStopping | None = None
    label_smoothing: float = 0.0
    constraints: Constraints = field(default_factory=Constraints)
    accumulate: int = 1
    """Number of batches whose gradients are added up for one step."""
    ema: float | None = None
    """Decay of the exponential moving average of the weights, per step."""
    swa: Swa | None = None
    snapshots: tuple[int, ...] = ()
    """Epochs, from 0, after which the weights are kept."""
    weight: torch.Tensor | None = None
    """Weight of each training row's label, float32 (N,) on the device. The mean is 1, or less if there are soft labels
    too. None gives all rows equal weights."""
    soft: SoftLabels | None = None
    """A teacher's predictions for the training rows, learned in addition to the labels."""
    balanced: bool = False
    """Whether each epoch draws the classes equally often."""
    parts: int = 1
    """Number of equal parts of the training rows; each epoch uses one part, in turn."""
    prepare: Callable[[int], None] | None = None
    """Called with the number of each epoch, from 0, once the network is in training mode; freezes parameters."""
    until: Callable[[dict[str, float]], bool] | None = None
    """Called with the metrics of each epoch; returns whether that was the last one."""
    sync_batchnorm: bool = False
    """Whether workers that train the network together share the statistics of batch normalizations."""
    so_far: Callable[[Weights, TrainingResult], object] | None = None
    """Makes a member as if the training ended now: from the best weights so far, and from the other results."""

    @property
    def has_other_weights(self) -> bool:
        """Whether the run returns additional weights, such as averages or snapshots."""
        return self.ema is not None or self.swa is not None or bool(self.snapshots)


class Training:
    """Everything that changes while a network trains, as one state that can be saved and restored."""

    def __init__(self, network: nn.Module, *, n_classes: int, recipe: LoopSettings, steps: int, seed: int) -> None:
        self.network = network
        self.group = DataParallel.of_process()
        self.optimizer = recipe.optimizer(network)
        self.schedule = recipe.schedule(self.optimizer, recipe.epochs, steps)
        self.history: History = []
        self.best = BestEpoch()
        self.averages = Averages(network, ema=recipe.ema, swa=recipe.swa, epochs=recipe.epochs)
        self.snapshots: dict[str, Weights] = {}
        self.epoch = self.step = 0
        self._seed, self._n_classes, self._steps = seed, n_classes, steps
        self._seconds_before = 0.0
        self._open_epoch()

    def order(self, labels: torch.Tensor, *, balanced: bool, parts: int = 1) -> torch.Tensor:
        """Return the rows of this epoch, those of one of the `parts`, in the order of training."""
        size = len(labels) // parts
        first = self.epoch % parts * size
        own = labels[first : first + size]
        return first + training_order(own, seed=self._seed, epoch=self.epoch, balanced=balanced)

    def close_epoch(self, figures: dict[str, float], recipe: LoopSettings) -> bool:
        """Store the epoch's metrics, and its weights if required; advance to the next epoch.

        Returns whether the result of the run has improved or changed.
        """
        self.history.append(figures)
        stopping = recipe.early_stopping or EarlyStopping()
        found = as_loss(figures, stopping.metric)
        if better := stopping.is_better(found, self.best):
            self.best = BestEpoch(found, self.epoch, copy_of(self.network))
        self.averages.after_epoch(self.network, self.epoch)
        if self.epoch in recipe.snapshots:
            self.snapshots[f"cycle{recipe.snapshots.index(self.epoch) + 1}"] = copy_of(self.network)
        self.epoch, self.step, self._seconds_before = self.epoch + 1, 0, 0.0
        self._open_epoch()
        return better or recipe.has_other_weights

    def seconds(self) -> float:
        """Seconds spent in this epoch, without interruptions."""
        return self._seconds_before + time.perf_counter() - self._since

    def open_step(self) -> None:
        """With several workers, start a stream of random numbers for the step: a state then needs none of them."""
        if (seed := self.group.seed(self._seed, self.epoch, self.step)) is not None:
            torch.manual_seed(seed)
            self.generator.manual_seed(seed)

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
            "averages": self.averages.state(),
            "snapshots": self.snapshots,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds(),
            "tally": self.group.summed(self.tally).state(),
            "augment": self.generator.get_state(),
            **global_random_state(),
        }

    def restore(self, saved: State) -> None:
        self.network.load_state_dict(saved["network"])
        if saved.get(OTHER_PARAMETERS):
            self._take_over(saved)
        else:
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
        self.history = saved["history"]
        self.best = BestEpoch(**saved["best"])
        self.averages.restore(saved["averages"])
        self.snapshots = saved["snapshots"]
        self.epoch, self.step, self._seconds_before = saved["epoch"], saved["step"], saved["seconds"]
        self._open_epoch()
        if self.group.rank == 0:  # the sums of all workers
            self.tally.restore(saved["tally"])
        self.generator.set_state(saved["augment"])
        restore_global_random_state(saved)

    def _take_over(self, saved: State) -> None:
        """Take the moments of an optimizer with other rates; the schedule is where it would be after these epochs."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch expects a step of the optimizer before each
            for _ in range(saved["epoch"] * self._steps):
                self.schedule.step()
        rates = [{name: value for name, value in one.items() if name != "params"} for one in self._groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, own in zip(self._groups, rates, strict=True):
            group.update(own)

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run besides the network: one dictionary of metrics per epoch, and other weights by name."""

    history: History
    others: Callable[[], dict[str, Weights]]
    """`ema`, `swa`, and the snapshots `cycle1`, `cycle2` ... without the last one, as far as the run reached them."""


def fit_network(
    network: nn.Module, *, train: Labelled, valid: Labelled, n_classes: int, recipe: LoopSettings, context: TaskContext
) -> TrainingResult:
    """Train `network` in place.

    With early stopping, the weights of the best epoch are restored. Otherwise those of the last epoch stay, unless a
    report returns STOP: then the best weights so far are used, and averages are computed on first use. Raises
    `Diverged`.
    """
    batches = len(split_batches(torch.arange(len(train[0]) // recipe.parts), context.numerics.batch_size))
    steps = -(-batches // recipe.accumulate)
    training = Training(network, n_classes=n_classes, recipe=recipe, steps=steps, seed=context.seed)
    if context.restored is not None:
        training.restore(context.restored)
    stopping = recipe.early_stopping
    mixed = training_order(train[1], seed=context.seed, epoch=recipe.epochs)  # rows may be sorted by class
    rows = split_batches(mixed, context.numerics.batch_size)

    def others() -> dict[str, Weights]:
        return training.averages.weights(network, lambda: map(train[0].batch, rows)) | training.snapshots

    def so_far() -> object:
        assert recipe.so_far is not None
        return recipe.so_far(training.best.weights, TrainingResult(training.history, others))

    signal = Signal.STOP if context.restored is not None and context.restored.get(ENDED) else Signal.CONTINUE
    while signal is not Signal.STOP and training.epoch < recipe.epochs:
        if stopping and training.epoch - training.best.epoch > stopping.patience:
            break
        if recipe.until and training.history and recipe.until(training.history[-1]):
            break
        signal = _train_epoch(training, train, recipe, context)
        if signal is Signal.STOP:
            break
        group, tally = training.group, training.group.summed(training.tally)
        group.share_buffers(network)
        figures = tally.figures("train") | evaluate(
            network,
            *valid,
            n_classes=n_classes,
            numerics=context.numerics,
            group=group,
            calibrated=stopping is not None and stopping.metric == "calibrated_loss",
        )
        figures |= {"lr": float(training.optimizer.param_groups[0]["lr"]), "grad_norm": tally.norm()}
        figures = group.agreed(figures | {"seconds": training.seconds()}, tally.loss.device)
        _check_sound(figures, training)
        if isinstance(training.schedule, WatchesEpochs):
            training.schedule.end_epoch(figures)
        better = training.close_epoch(figures, recipe)
        signal = context.report(figures, training.state, so_far if better and recipe.so_far is not None else None)

    # before the best weights are loaded, so that both see the same random state
    found = others() if signal is not Signal.STOP else None
    if training.best.weights and (stopping or signal is Signal.STOP):
        network.load_state_dict(training.best.weights)
    return TrainingResult(training.history, others if found is None else lambda: found)


def _train_epoch(training: Training, train: Labelled, recipe: LoopSettings, context: TaskContext) -> Signal:
    """Train the batches of one epoch from `training.step` on; return STOP if a report returned it."""
    feed, labels = train
    network, optimizer, group = training.network, training.optimizer, training.group
    batches = split_batches(
        training.order(labels, balanced=recipe.balanced, parts=recipe.parts), context.numerics.batch_size
    )
    feed.expect(batches[training.step :])
    network.train()
    if recipe.prepare is not None:
        recipe.prepare(training.epoch)
    forward = group.forward(network)
    while training.step < len(batches):
        together = batches[training.step : training.step + recipe.accumulate]
        total = sum(map(len, together))
        optimizer.zero_grad(set_to_none=True)
        training.open_step()
        for number, batch in enumerate(together, start=1):
            part = group.part(batch)
            rows, factor = part.rows, part.factor * len(batch) / total
            x, y = feed.batch(rows, recipe.augment, training.generator), labels[rows.to(labels.device)]
            if (mixed := _mixed(x, y, rows, recipe, training)) is not None:
                x, y = mixed.x, mixed.y
            with group.averaging(now=number == len(together)):
                with autocast(context.numerics), group.normalizing(part, together=recipe.sync_batchnorm):
                    logits = forward(x)
                loss = _loss(*each_prediction(logits, y, rows), recipe, mixed)
                (loss if factor == 1 else loss * factor).backward()
            if group.counts(part):
                training.tally.add(loss, logits if logits.dim() == 2 else mean_logits(logits), y)
        if (regularization := penalty(network, recipe.constraints)) is not None:
            regularization.backward()
        norm = take_step(network, optimizer, recipe.constraints)
        training.schedule.step()
        if recipe.swa and recipe.swa.lr and training.epoch >= recipe.swa.first_epoch(recipe.epochs):
            _hold_rate(optimizer, recipe.swa.lr)
        training.averages.after_step(network)
        training.tally.add_step(norm)
        training.step += len(together)
        if training.step < len(batches) and context.report(None, training.state) is Signal.STOP:
            return Signal.STOP
    return Signal.CONTINUE


def _hold_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the highest learning rate to `lr`, and those of other groups in proportion."""
    highest = max(group["lr"] for group in optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr"] / highest if highest > 0 else lr


def _mixed(
    x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, recipe: LoopSettings, training: Training
) -> MixedBatch | None:
    """Return the batch with its rows mixed, or None if the recipe does not mix them."""
    if recipe.augment is None or not (kinds := recipe.augment.mixing):
        return None
    weight = None if recipe.weight is None else recipe.weight[rows.to(y.device)]
    n_classes = len(training.tally.confusion)
    soft = None if recipe.soft is None else recipe.soft.of(rows)
    return mix(kinds, x, y, n_classes=n_classes, weight=weight, generator=training.generator, soft=soft)


def _loss(
    logits: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, recipe: LoopSettings, mixed: MixedBatch | None
) -> torch.Tensor:
    """Return the loss on the labels, and on a teacher's predictions if there are any."""
    loss = training_loss(logits, y, rows, recipe) if mixed is None else mixed.loss(logits, recipe.label_smoothing)
    if recipe.soft is None:
        return loss
    targets = recipe.soft.of(rows) if mixed is None else mixed.soft
    assert targets is not None, "a mixed batch must also contain mixed soft labels"
    return loss + recipe.soft.loss(logits, targets)


def training_loss(logits: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, recipe: LoopSettings) -> torch.Tensor:
    """Return the mean of the rows' cross-entropies, each multiplied by its weight.

    The weights have a mean of 1 over the fold, not over the batch: a batch of rows with small weights makes a small
    step.
    """
    if recipe.weight is None:
        return functional.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing)
    losses = functional.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing, reduction="none")
    return (losses * recipe.weight[rows.to(y.device)]).mean()


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    feed: Feed,
    labels: torch.Tensor,
    *,
    n_classes: int,
    numerics: Numerics,
    group: DataParallel | None = None,
    calibrated: bool = False,
) -> dict[str, float]:
    """Return loss, accuracy, macro precision and recall on labelled rows with equal weights, in the training
    precision, and if `calibrated` the loss after temperature scaling; the workers of a group share the rows."""
    group = group or DataParallel()
    network.eval()
    tally = Tally(n_classes, labels.device)
    every = torch.zeros(len(feed) if calibrated else 0, n_classes, device=labels.device)
    size = max(256, numerics.batch_size)
    pieces = list(group.own(torch.arange(len(feed)).split(size)))
    feed.expect(pieces)
    for rows in pieces:
        y = labels[rows.to(labels.device)]
        with autocast(numerics):
            logits = network(feed.batch(rows))  # no name holds a batch while the next one is made
        tally.add(functional.cross_entropy(logits.float(), y), logits, y)
        if calibrated:
            every[rows.to(every.device)] = logits.float()
    figures = group.summed(tally).figures("valid")
    return figures | {"valid_calibrated_loss": calibrated_loss(group.total(every), labels)} if calibrated else figures


@torch.inference_mode()
def predict(network: nn.Module, feed: Feed, *, size: int = 256, passes: int = 0) -> torch.Tensor:
    """Return class probabilities, float32 (N, K) on the CPU; always computed in float32.

    With `passes` they are averaged over that number of networks with dropped units (`ThinnedNetwork`).
    """
    network.eval()
    thinned = [ThinnedNetwork(number) for number in range(passes)]

    def proba(x: torch.Tensor) -> torch.Tensor:
        return _proba(network, x, thinned).cpu()

    return torch.cat([*map(proba, feed.batches(size))])  # no name holds a batch while the next one is made


def _proba(network: nn.Module, x: torch.Tensor, thinned: Sequence[ThinnedNetwork]) -> torch.Tensor:
    if not thinned:
        return functional.softmax(network(x).float(), dim=1)
    total = torch.zeros(())
    for mode in thinned:
        mode.start()
        with mode:
            logits = network(x)
        total = total.to(logits.device) + functional.softmax(logits.float(), dim=1)
    return total / len(thinned)


def autocast(numerics: Numerics) -> contextlib.AbstractContextManager[object]:
    """Use bfloat16 if the plan chose it; otherwise do nothing."""
    if numerics.precision == "bfloat16":
        return torch.autocast(numerics.device, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _check_sound(figures: dict[str, float], training: Training) -> None:
    for name in ("train_loss", "valid_loss"):
        if not math.isfinite(figures[name]):
            before = training.history[-1]["grad_norm"] if training.history else math.nan
            was = f" (it was {before:.3g} an epoch before)" if math.isfinite(before) else ""
            raise Diverged(
                f"{name} is {figures[name]} in epoch {training.epoch + 1} at learning rate {figures['lr']:.3g}, with a "
                f"gradient norm of {figures['grad_norm']:.3g}{was}; try a tenth of the rate, a warm-up, or clip_norm: 1"
            )
    if (reason := unsound(figures, training.history)) is not None:
        raise Diverged(
            f"{reason} in epoch {training.epoch + 1} at learning rate {figures['lr']:.3g}: memory was corrupted, or "
            "the inputs have a very large scale; leave standardize at auto, try a tenth of the rate, or clip_norm: 1"
        )
