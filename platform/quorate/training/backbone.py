"""The parts of a network: its head, which computes the logits, and the stages of the backbone below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_DOMINANT = 0.9
"""A part with more than this fraction of the backbone's weights is a wrapper: its own parts are the stages. An
assumption, not a measurement."""


def head_names(network: nn.Module) -> list[str]:
    """Return the names of the layers that compute the logits: timm's classifier, otherwise the last layer.

    Raises `ValueError` if there is none.
    """
    known = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    heads = list(known) if isinstance(known, tuple | list | nn.ModuleList) else [known]
    named = {id(module): name for name, module in network.named_modules()}
    names = [named[id(head)] for head in heads if id(head) in named and not isinstance(head, nn.Identity)]
    if names:
        return names
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or not layers[-1]:
        raise ValueError("the network has no last layer that is distinct from its backbone")
    return layers[-1:]


def renew_head(network: nn.Module) -> None:
    """Initialize the head's weights with torch's default, so that logits are small at first for any number of classes.

    Some network families initialize the head by its number of outputs (EfficientNet, MobileNet). When a thousand
    classes are replaced by a few, their logits start in the tens, and the first epochs are spent on reducing them.
    """
    for name in head_names(network):
        for part in network.get_submodule(name).modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.reset_parameters()


def head_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the head."""
    return [parameter for name in head_names(network) for parameter in network.get_submodule(name).parameters()]


def stages_of(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the weights of the backbone in stages, from the input to the head, without the head.

    The stages are timm's coarse groups if the network defines them, otherwise its parts. A part that has only
    one-dimensional weights, such as a normalization layer, belongs to the stage before it.
    """
    head = {id(parameter) for parameter in head_parameters(network)}
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters  # a network of timm has imported timm already

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
    """Within this context, `network` returns the input of its head: features (n, width)."""
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
    """Return the number of features per row of `x` from the network `without_head`; raises `ValueError` for feature
    maps."""
    training = encoder.training
    features = encoder.eval()(x)
    encoder.train(training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise ValueError("the network does not pool its features to one vector per row before its last layer")
    return features.shape[1]
