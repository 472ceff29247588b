"""Create the network, the optimizer and the settings of the loop for the start of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from quorate.members.net_params import NetParams
from quorate.registry import ARCHS, OPTIMIZERS
from quorate.training.averages import Weights
from quorate.training.context import TaskContext
from quorate.training.finetuning import freezing, slower_backbone
from quorate.training.groups import parameter_groups
from quorate.training.hub import from_hub
from quorate.training.initializations import initialize
from quorate.training.loop import LoopSettings, TrainingResult
from quorate.training.schedule_stepper import schedule_of
from quorate.training.schedules import snapshot_epochs
from quorate.training.shapes import Shape
from quorate.training.step import Constraints
from quorate.training.weights import load_weights, read_weights


def first_network(params: NetParams, *, shape: Shape, n_classes: int, context: TaskContext) -> nn.Module:
    """The network before training: with random weights, or with the weights that the parameters name."""
    p, arch = params, ARCHS.get(params.arch.kind)
    if p.weights is None:
        fresh = build_network(params, shape=shape, n_classes=n_classes)
        initialize(fresh, p.init)
        return fresh
    if p.weights == "hub":
        return from_hub(p.arch, shape=shape, n_classes=n_classes, dropout=p.dropout)
    weights = read_weights(context.asset(Path(p.weights)))
    if arch.loads_weights:
        network: nn.Module = arch.pretrained(
            p.arch,
            shape=shape,
            n_classes=n_classes,
            dropout=p.dropout,
            weights=weights,
        )
        return network
    network = build_network(params, shape=shape, n_classes=n_classes)
    load_weights(network, weights, source=str(p.weights), arch=p.arch.kind)
    return network


def build_network(params: NetParams, *, shape: Shape, n_classes: int) -> nn.Module:
    """A network of the architecture with torch's own initialization."""
    network: nn.Module = ARCHS.get(params.arch.kind).build(
        params.arch, shape=shape, n_classes=n_classes, dropout=params.dropout
    )
    return network


def optimizer_of(params: NetParams, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, with separate learning rates and decays for groups of weights if the parameters set them."""
    p, finetune = params, params.finetune
    groups = parameter_groups(network, lr=p.lr, weight_decay=p.weight_decay, decay=p.decay, layer_decay=p.layer_decay)
    if finetune is not None and finetune.freeze != "backbone" and finetune.backbone_lr != 1:
        groups = slower_backbone(groups, network, lr=p.lr, factor=finetune.backbone_lr)
    optimizer: torch.optim.Optimizer = OPTIMIZERS.get(p.optimizer.kind).build(
        p.optimizer, groups, lr=p.lr, weight_decay=p.weight_decay
    )
    return optimizer


def loop_settings(
    params: NetParams,
    network: nn.Module,
    *,
    weight: torch.Tensor | None,
    so_far: Callable[[Weights, TrainingResult], object],
) -> LoopSettings:
    """How the loop trains `network`; `weight` (n,) are the weights of the training rows."""
    p = params
    return LoopSettings(
        epochs=p.epochs,
        optimizer=lambda network: optimizer_of(p, network),
        schedule=lambda optimizer, epochs, steps: schedule_of(
            p.schedule, p.optimizer, optimizer, epochs=epochs, steps=steps
        ),
        augment=p.augment,
        constraints=Constraints(p.clip_norm, p.l1, p.max_norm),
        accumulate=p.accumulate,
        ema=p.ema,
        swa=p.swa,
        snapshots=snapshot_epochs(p.schedule, p.epochs) if p.snapshots > 1 else (),
        early_stopping=p.early_stopping,
        label_smoothing=p.label_smoothing,
        weight=weight,
        balanced=p.sampling is not None,
        prepare=freezing(network, p.finetune) if p.finetune is not None else None,
        sync_batchnorm=p.sync_batchnorm,
        so_far=so_far,
    )
