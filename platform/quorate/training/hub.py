"""Pretrained weights from a hub: download them, and identify them by their content."""

from __future__ import annotations

import functools
import hashlib

import torch
from safetensors.torch import save
from torch import nn

from quorate.errors import UserError
from quorate.registry import ARCHS, KindParams
from quorate.training.backbone import head_names
from quorate.training.shapes import Shape

_CLASSES = 2
"""Number of classes of the network that is built to read the weights; the digest leaves out the head."""


class HubError(UserError):
    """The hub cannot provide the weights of an architecture."""


def from_hub(arch: KindParams, *, shape: Shape, n_classes: int, dropout: float) -> nn.Module:
    """Build a network with the hub's weights, or with those in this machine's cache; raises `HubError`."""
    try:
        network: nn.Module = ARCHS.get(arch.kind).pretrained(
            arch, shape=shape, n_classes=n_classes, dropout=dropout, weights=None
        )
    except Exception as error:  # each hub has its own errors for networks, caches and permissions
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise HubError(
            f"the weights of {arch.kind} cannot be loaded from the hub: {lines[0]}; "
            "download them where the hub can be reached, and name the file in weights"
        ) from error
    return network


@functools.lru_cache(maxsize=64)
def hub_digest(arch: KindParams, shape: Shape) -> str:
    """Return the SHA-256 of the hub's weights for images of `shape`, without the head; raises `HubError`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # layers without weights on the hub get the same random weights each time
        network = from_hub(arch, shape=shape, n_classes=_CLASSES, dropout=0.0)
    try:
        heads = tuple(f"{name}." for name in head_names(network))
    except ValueError:
        heads = ()
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(heads)}
    return hashlib.sha256(save({name: tensor.contiguous() for name, tensor in kept.items()})).hexdigest()
