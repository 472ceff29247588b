"""Weight averages and snapshots: additional members from a single training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from quorate.registry import Spec
from quorate.registry.parameter_names import named

Weights = dict[str, torch.Tensor]


class Swa(Spec):
    """Stochastic weight averaging (Izmailov et al., 2018): the mean of the weights at the ends of the last epochs."""

    start: float = Field(0.75, ge=0, lt=1)
    """Fraction of the epochs after which averaging begins (three quarters in the paper)."""
    lr: float | None = Field(None, gt=0, le=100, validation_alias=named("lr", "learning_rate"))
    """Constant learning rate while the weights are averaged; by default the schedule continues."""

    def first_epoch(self, epochs: int) -> int:
        """Return the first epoch, from 0, whose final weights are averaged."""
        return min(int(self.start * epochs + 1e-9), epochs - 1)


class Averages:
    """The running averages of one training run."""

    def __init__(self, network: nn.Module, *, ema: float | None, swa: Swa | None, epochs: int) -> None:
        self._models: dict[str, AveragedModel] = {}
        self._swa_from = swa.first_epoch(epochs) if swa else epochs
        if ema is not None:
            self._models["ema"] = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema))
        if swa is not None:
            self._models["swa"] = AveragedModel(network)

    def after_step(self, network: nn.Module) -> None:
        if "ema" in self._models:
            self._models["ema"].update_parameters(network)

    def after_epoch(self, network: nn.Module, epoch: int) -> None:
        """Update the averages at the end of `epoch`, counted from 0."""
        if "swa" in self._models and epoch >= self._swa_from:
            self._models["swa"].update_parameters(network)

    def weights(self, network: nn.Module, batches: Callable[[], Iterable[torch.Tensor]]) -> dict[str, Weights]:
        """Return the averaged weights by name, with batch normalization statistics recomputed on the training rows.

        `batches` yields these rows without augmentation. Averages that no epoch has contributed to are left out.
        Normalizations that are frozen in `network` keep their statistics, because the layers after them were trained
        with these.
        """
        trained = {name for name, part in network.named_modules() if isinstance(part, _BatchNorm) and _is_trained(part)}
        found = {}
        for name, model in self._models.items():
            if model.n_averaged > 0:
                _estimate_statistics(model.module, trained, batches())
                found[name] = copy_of(model.module)
        return found

    def state(self) -> dict[str, Any]:
        return {name: model.state_dict() for name, model in self._models.items()}

    def restore(self, saved: dict[str, Any]) -> None:
        for name, model in self._models.items():
            model.load_state_dict(saved[name])


def _is_trained(normalization: _BatchNorm) -> bool:
    return normalization.weight is None or normalization.weight.requires_grad


@torch.no_grad()
def _estimate_statistics(network: nn.Module, names: Set[str], batches: Iterable[torch.Tensor]) -> None:
    """Recompute the statistics of the batch normalizations `names`: the plain means over the batches, in training
    mode."""
    network.train()
    momentums = {}
    for name, part in network.named_modules():
        if not isinstance(part, _BatchNorm):
            continue
        if name in names:
            momentums[part] = part.momentum
            part.reset_running_stats()
            part.momentum = None
        else:
            part.eval()
    for x in batches if momentums else ():
        network(x)
    for part, momentum in momentums.items():
        part.momentum = momentum


def average(network: nn.Module, weights: Sequence[Weights], batches: Iterable[torch.Tensor]) -> None:
    """Set `network` to the mean of several `weights`, with batch normalization statistics from `batches`.

    Counters are whole numbers and are taken from the first weights. Statistics that are equal in all weights were
    frozen, so they are kept.
    """
    first, *others = weights
    mean = {
        name: torch.stack([tensor.double(), *(other[name].double() for other in others)]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
    network.load_state_dict(mean)
    before = network.training
    _estimate_statistics(network, {name for name in _normalizations(network) if _differ(name, weights)}, batches)
    network.train(before)


def _normalizations(network: nn.Module) -> list[str]:
    return [name for name, part in network.named_modules() if isinstance(part, _BatchNorm)]


def _differ(name: str, weights: Sequence[Weights]) -> bool:
    """Return whether the statistics of this normalization differ between the weights."""
    first, *others = (each[f"{name}.running_mean"] for each in weights)
    return any(not torch.equal(first, other) for other in others)


def copy_of(network: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
