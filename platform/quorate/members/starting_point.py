"""Check before training how a network starts: image size, weights file, pretraining and fine-tuning."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quorate.registry import ARCHS, KindParams
from quorate.training.backbone import feature_width, head_names, stages_of, without_head
from quorate.training.own import OwnArch
from quorate.training.weights import WeightsError, load_weights, read_weights

ImageShape = tuple[int, int, int]

_SIDES = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)
"""Usual input sizes in pixels, tried in this order; bisection then finds the smallest side that works."""
_CANNOT = (RuntimeError, ValueError, AssertionError)
"""Errors that networks raise for images that are too small."""


def least_size(arch: KindParams, shape: ImageShape) -> int | None:
    """Return the smallest side above that of `shape` that the architecture takes; None if there is none up to 512."""
    below = max(shape[:2])
    for side in _SIDES:
        if side <= below:
            continue
        if _takes(arch, side, shape[2]):
            while side - below > 1:  # bisect between a side that fails and one that works
                middle = (below + side) // 2
                below, side = (below, middle) if _takes(arch, middle, shape[2]) else (middle, side)
            return side
        below = side
    return None


def _takes(arch: KindParams, side: int, channels: int) -> bool:
    try:
        network, device = _trial(arch, (side, side, channels))
        with torch.no_grad():
            network.eval()(torch.empty(1, channels, side, side, device=device))
    except _CANNOT:
        return False
    return True


def check_weights(arch: KindParams, shape: ImageShape, path: Path) -> None:
    """Raise `WeightsError` or `ValueError` if the file cannot be read, or belongs to another architecture."""
    standing = path.stat()
    _check_weights(arch, shape, path, standing.st_mtime_ns, standing.st_size)


@functools.lru_cache(maxsize=64)
def _check_weights(arch: KindParams, shape: ImageShape, path: Path, changed: int, size: int) -> None:
    kind = ARCHS.get(arch.kind)
    weights = read_weights(path, shapes_only=True)
    if not kind.loads_weights:
        network, _ = _trial(arch, shape)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load_weights(network.to("meta"), weights, source=path.name, arch=arch.kind)
        except WeightsError as error:
            raise WeightsError(" ".join(str(error).split())) from None
        return
    if isinstance(kind, OwnArch):
        return  # the user's code may use the tensors in any way, so they cannot be checked
    try:
        with torch.device("meta"):
            _start(kind, arch, shape, weights)
    except (RuntimeError, ValueError):  # the device `meta` may be the cause, so try again with real tensors
        try:
            _start(kind, arch, shape, read_weights(path))
        except ValueError as error:
            raise WeightsError(f"{path.name} contains weights of another architecture: {error}") from None


def _start(kind: Any, arch: KindParams, shape: ImageShape, weights: dict[str, torch.Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind.pretrained(arch, shape=shape, n_classes=2, dropout=0.0, weights=weights)


@functools.lru_cache(maxsize=64)
def count_stages(arch: KindParams, shape: ImageShape) -> int:
    """Return the number of backbone stages that gradual unfreezing goes through."""
    return len(stages_of(_trial(arch, shape)[0]))


@functools.lru_cache(maxsize=64)
def check_head(arch: KindParams, shape: ImageShape, *, pretrain: bool) -> None:
    """Raise `ValueError` if the network has no head or, with `pretrain`, no vector of features below it."""
    network, device = _trial(arch, shape)
    head_names(network)
    if pretrain:
        with without_head(network) as encoder:
            feature_width(encoder, torch.zeros(1, shape[2], *shape[:2], device=device))


def _trial(arch: KindParams, shape: ImageShape) -> tuple[nn.Module, torch.device]:
    """Return a network of two classes, on the device `meta` if its code allows that, and the device."""
    kind = ARCHS.get(arch.kind)
    if isinstance(kind, OwnArch):
        network = kind.trial(arch, shape=shape, n_classes=2)
        device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
        return network, device
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind.build(arch, shape=shape, n_classes=2, dropout=0.0), torch.device("meta")
