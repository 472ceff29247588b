"""Every classifier of torchvision as `torchvision/NAME`, for any number of channels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import field_validator
from timm.models import adapt_input_conv
from torch import nn
from torchvision import models

from quorate.registry import ARCHS, KindParams, did_you_mean
from quorate.training.backbone import renew_head
from quorate.training.contracts import Architecture, HubWeights


class TorchvisionArchParams(KindParams):
    @field_validator("kind")
    @classmethod
    def _is_in_torchvision(cls, kind: str) -> str:
        name, known = _name(kind), models.list_models(module=models)
        if name not in known:
            raise ValueError(f"torchvision has no classifier {name!r}{did_you_mean(name, known)}")
        return kind


@ARCHS.register("torchvision/")
class TorchvisionArch(Architecture):
    """The classifiers of torchvision.models, with input and head adapted to the data."""

    Params = TorchvisionArchParams
    convolutional = True
    takes = frozenset({"image"})
    loads_weights = True

    @staticmethod
    def names() -> list[str]:
        return list(models.list_models(module=models))

    @staticmethod
    def hub_weights(params: TorchvisionArchParams) -> HubWeights | None:
        url = models.get_model_weights(_name(params.kind)).DEFAULT.url
        return HubWeights.of_file(url, Path(torch.hub.get_dir()) / "checkpoints")

    @staticmethod
    def build(
        params: TorchvisionArchParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float
    ) -> nn.Module:
        network = _create(_name(params.kind), shape, n_classes)
        _take_channels(network, shape[2])
        _drop_out(network, dropout)
        return network

    @staticmethod
    def pretrained(
        params: TorchvisionArchParams,
        *,
        shape: tuple[int, int, int],
        n_classes: int,
        dropout: float,
        weights: Mapping[str, torch.Tensor] | None,
    ) -> nn.Module:
        """Build the network with `weights` in torchvision's key names, or with its default ones, downloaded, if there
        are none.

        The first convolution is adapted to the channels; a head with other classes keeps its initial weights. Raises
        `ValueError` if the weights belong to another architecture.
        """
        name = _name(params.kind)
        if weights is None:
            weights = models.get_model_weights(name).DEFAULT.get_state_dict(weights_only=True, check_hash=True)
        network = _create(name, shape, n_classes)
        renew_head(network)
        _take_channels(network, shape[2])
        _load(network, dict(weights), name, size=shape[0])
        _drop_out(network, dropout)
        half = name in ("googlenet", "inception_v3")  # the only ones that are not trained with ImageNet's statistics
        mean, std = ((0.5,) * 3,) * 2 if half else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        network.pretrained_cfg = {"mean": mean, "std": std}  # type: ignore[assignment]
        return network


def _name(kind: str) -> str:
    return kind.removeprefix("torchvision/")


def _create(name: str, shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = shape[0]
    elif name.startswith("maxvit"):
        options["input_size"] = shape[:2]
    elif name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    place = torch.get_default_device()
    # RegNet's constructor computes with tensors, which have no values on the device `meta`.
    building = torch.device("cpu") if name.startswith("regnet") else place
    with warnings.catch_warnings(), building:
        warnings.simplefilter("ignore")
        network: nn.Module = models.get_model(name, weights=None, num_classes=n_classes, **options)
    return network.to(place)


def _take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution if the images do not have three channels."""
    name, first = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    if channels == first.in_channels:
        return
    fresh = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    network.set_submodule(name, fresh)


def _head(network: nn.Module) -> str:
    """Return the name of the last layer, which computes the logits."""
    layers: list[str] = [name for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return layers[-1]


def _drop_out(network: nn.Module, rate: float) -> None:
    """Set the rate of the network's own dropout; if it has none, insert one before the last layer."""
    own = [part for part in network.modules() if isinstance(part, nn.Dropout) and part.p > 0]
    for part in own:
        part.p = rate
    if rate > 0 and not own:
        head = _head(network)
        network.set_submodule(head, nn.Sequential(nn.Dropout(rate), network.get_submodule(head)))


def _load(network: nn.Module, weights: dict[str, torch.Tensor], name: str, *, size: int) -> None:
    own, head = network.state_dict(), _head(network)
    first = next(name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)) + ".weight"
    if first in weights and weights[first].shape[1] == 3:
        weights[first] = adapt_input_conv(own[first].shape[1], weights[first])
    if isinstance(network, models.VisionTransformer) and "encoder.pos_embedding" in weights:
        weights = dict(models.vision_transformer.interpolate_embeddings(size, network.patch_size, dict(weights)))
    fitting = {key: tensor for key, tensor in weights.items() if key in own and tensor.shape == own[key].shape}
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    wrong = [key for key in missing if not key.startswith(f"{head}.")]
    if wrong:
        what = "has another shape" if wrong[0] in weights else "is not among them"
        raise ValueError(f"the weights do not fit torchvision/{name}: {wrong[0]} {what} ({len(wrong)} such tensors)")
    network.load_state_dict(fitting, strict=False)
