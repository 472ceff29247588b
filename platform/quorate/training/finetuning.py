"""Fine-tuning of pretrained weights: the parts that are frozen in each epoch, and a lower learning rate below the
head."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quorate.registry import Spec
from quorate.training.backbone import head_parameters, stages_of


# The defaults of `stage_epochs` and `backbone_lr` are assumptions, not measurements.
class Finetune(Spec):
    """How a network that starts from pretrained weights is trained."""

    freeze: Literal["none", "backbone"] = "none"
    """`backbone` freezes the backbone and trains only the head."""
    head_epochs: int = Field(0, ge=0)
    """Number of epochs in which only the head is trained, before the backbone is trained too."""
    unfreeze: Literal["all", "gradual"] = "all"
    """After `head_epochs`: the whole backbone at once, or stage by stage from the last one backwards (Howard and Ruder,
    2018)."""
    stage_epochs: int = Field(1, ge=1)
    """Number of epochs between unfreezing one stage and the next, with `unfreeze: gradual`."""
    backbone_lr: float = Field(0.1, gt=0, le=1)
    """Factor by which the learning rate is multiplied below the head."""

    @model_validator(mode="after")
    def _has_an_order(self) -> Finetune:
        if self.freeze == "backbone" and (self.head_epochs or self.unfreeze == "gradual"):
            raise ValueError("freeze: backbone trains only the head in every epoch; leave out head_epochs and unfreeze")
        if self.unfreeze == "gradual" and not self.head_epochs:
            raise ValueError("unfreeze: gradual begins with the head alone; set head_epochs to 1 or more")
        return self

    def check_epochs(self, epochs: int) -> None:
        """Raise `ValueError` if the backbone would never be trained."""
        if self.head_epochs >= epochs:
            raise ValueError(
                f"finetune.head_epochs is {self.head_epochs} of {epochs} epochs, so the backbone would never be "
                "trained; lower it, raise epochs, or write freeze: backbone"
            )

    def check_stages(self, stages: int, epochs: int) -> None:
        """Raise `ValueError` if gradual unfreezing would not reach the first stage."""
        needed = self.head_epochs + (stages - 1) * self.stage_epochs + 1
        if self.unfreeze == "gradual" and needed > epochs:
            raise ValueError(
                f"unfreeze: gradual requires {needed} epochs for the {stages} stages of this network, but epochs is "
                f"{epochs}; raise epochs, lower finetune.stage_epochs or head_epochs, or write unfreeze: all"
            )

    def trained_stages(self, epoch: int, stages: int) -> int:
        """Return the number of stages, counted from the last one, that are trained in `epoch` (from 0)."""
        if self.freeze == "backbone" or epoch < self.head_epochs:
            return 0
        if self.unfreeze == "all":
            return stages
        return min(1 + (epoch - self.head_epochs) // self.stage_epochs, stages)


def freezing(network: nn.Module, finetune: Finetune) -> Callable[[int], None]:
    """Return a function of the epoch that prepares `network`, in training mode, for that epoch.

    A frozen weight has no gradient, so no optimizer changes it. Batch normalizations in the frozen part keep their
    statistics.
    """
    stages = stages_of(network)

    def prepare(epoch: int) -> None:
        frozen = len(stages) - finetune.trained_stages(epoch, len(stages))
        for number, stage in enumerate(stages):
            for parameter in stage:
                parameter.requires_grad_(number >= frozen)
                if number < frozen:
                    parameter.grad = None
        for module in network.modules():
            if isinstance(module, _BatchNorm) and frozen:
                module.train(module.weight is not None and module.weight.requires_grad)

    return prepare


def slower_backbone(
    weights: Iterable[nn.Parameter | dict[str, Any]], network: nn.Module, *, lr: float, factor: float
) -> list[dict[str, Any]]:
    """Return the optimizer's groups of `weights`: the head first, then the rest with learning rate `factor` * `lr`.

    `weights` are parameters, or groups of them; the groups' own options are kept.
    """
    given = list(weights)
    plain = [weight for weight in given if isinstance(weight, nn.Parameter)]
    groups = [group for group in given if isinstance(group, dict)] + ([{"params": plain}] if plain else [])
    head = {id(parameter) for parameter in head_parameters(network)}
    split: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for group in groups:
        for is_head, groups_there in split.items():
            members = [parameter for parameter in group["params"] if (id(parameter) in head) is is_head]
            rate = group.get("lr", lr) * (1 if is_head else factor)
            if members:
                groups_there.append({**group, "params": members, "lr": rate})
    return split[True] + split[False]
