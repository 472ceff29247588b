"""The parts of a network: its head, which gives the logits, and the stages of the backbone below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_DOMINANT = 0.9
"""A part that holds more than this share of the backbone's weights is a wrapper: its own parts are the stages."""


def head_names(network: nn.Module) -> list[str]:
    """The names of the layers that give the logits: what timm calls the classifier, else the last layer.

    Raises `ValueError` where there is none.
    """
    known = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    heads = list(known) if isinstance(known, tuple | list | nn.ModuleList) else [known]
    named = {id(module): name for name, module in network.named_modules()}
    names = [named[id(head)] for head in heads if id(head) in named and not isinstance(head, nn.Identity)]
    if names:
        return names
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or not layers[-1]:
        raise ValueError("the network has no last layer that could be told from its backbone")
    return layers[-1:]


def renew_head(network: nn.Module) -> None:
    """Draw the head's weights as torch draws a layer's: logits are small at first, whatever the number of classes.

    Families of networks that draw a head's weights by its outputs (EfficientNet, MobileNet) begin with logits in
    the tens where a thousand classes became a few, and the first epochs go by with unlearning them.
    """
    for name in head_names(network):
        for part in network.get_submodule(name).modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.reset_parameters()


def head_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The weights of the head."""
    return [parameter for name in head_names(network) for parameter in network.get_submodule(name).parameters()]


def stages_of(network: nn.Module) -> list[list[nn.Parameter]]:
    """The weights of the backbone in stages, from the input to the head, which is left out.

    They are timm's coarse groups where the network tells them, else its parts; what has vectors only, such
    as a normalization, belongs to the stage before it.
    """
    head = {id(parameter) for parameter in head_parameters(network)}
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters  # whoever has a network of timm has paid for the import

        named = dict(network.named_parameters())
        groups = group_parameters(network, network.group_matcher(coarse=True))  # type: ignore[operator]
        parts = [[named[name] for name in groups[key]] for key in sorted(groups)]
        parts = [[parameter for parameter in part if id(parameter) not in head] for part in parts]
    else:
        total = sum(parameter.numel() for parameter in network.parameters() if id(parameter) not in head)
        parts = list(_parts(network, head, total))
    stages: list[list[nn.Parameter]] = []
    for part in parts:
        if stages and all(parameter.ndim < 2 for parameter in part):
            stages[-1] += part
        elif part:
            stages.append(part)
    return stages


def _parts(module: nn.Module, head: set[int], total: int) -> Iterator[list[nn.Parameter]]:
    yield [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in head]
    for child in module.children():
        inside = [parameter for parameter in child.parameters() if id(parameter) not in head]
        if sum(parameter.numel() for parameter in inside) > _DOMINANT * total and any(child.children()):
            yield from _parts(child, head, total)
        else:
            yield inside


@contextmanager
def without_head(network: nn.Module) -> Iterator[nn.Module]:
    """While this lasts, `network` gives what its head would take: features (n, width)."""
    heads = {name: network.get_submodule(name) for name in head_names(network)}
    for name in heads:
        network.set_submodule(name, nn.Identity())
    try:
        yield network
    finally:
        for name, head in heads.items():
            network.set_submodule(name, head)


@torch.no_grad()
def feature_width(encoder: nn.Module, x: torch.Tensor) -> int:
    """How many features the network `without_head` gives for each row of `x`; raises `ValueError` for maps."""
    training = encoder.training
    features = encoder.eval()(x)
    encoder.train(training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise ValueError("the network does not pool its features to one vector a row below its last layer")
    return features.shape[1]
