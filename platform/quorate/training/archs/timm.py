"""Every architecture of timm as `timm/NAME`, for any number of channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from pydantic import Field, field_validator
from torch import nn

from quorate.registry import ARCHS, KindParams, did_you_mean
from quorate.training.backbone import renew_head
from quorate.training.contracts import Architecture, HubWeights

_HUB_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
"""The names under which timm looks for weights on the Hugging Face hub (timm 1.0.31)."""


class TimmParams(KindParams):
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a residual branch (stochastic depth), in architectures that support it."""

    @field_validator("kind")
    @classmethod
    def _is_in_timm(cls, kind: str) -> str:
        name = kind.removeprefix("timm/")
        if not timm.is_model(name.split(".")[0]):
            raise ValueError(f"timm has no model {name!r}{did_you_mean(name, timm.list_models())}")
        return kind


@ARCHS.register("timm/")
class Timm(Architecture):
    """PyTorch Image Models (Wightman), with input and head adapted to the data."""

    Params = TimmParams
    convolutional = True
    takes = frozenset({"image"})
    loads_weights = True

    @staticmethod
    def names() -> list[str]:
        """List the family's architectures, for `quorate list`."""
        return list(timm.list_models())

    @staticmethod
    def hub_weights(params: TimmParams) -> HubWeights | None:
        config = timm.get_pretrained_cfg(params.kind.removeprefix("timm/"))
        if config is None or not (config.hf_hub_id or config.url):
            return None
        if not config.hf_hub_id:
            return HubWeights.of_file(config.url, Path(torch.hub.get_dir()) / "checkpoints")
        repository, _, revision = config.hf_hub_id.partition("@")
        names = [config.hf_hub_filename] if config.hf_hub_filename else _HUB_FILES
        found = [try_to_load_from_cache(repository, name, revision=revision or None) for name in names]
        cached = next((Path(path) for path in found if isinstance(path, str)), None)
        return HubWeights(f"{constants.ENDPOINT}/{repository}", Path(constants.HF_HUB_CACHE), cached)

    @staticmethod
    def trained_side(params: TimmParams) -> int | None:
        """The side in pixels of the images that timm's weights were trained on."""
        config = timm.get_pretrained_cfg(params.kind.removeprefix("timm/"))
        return None if config is None else min(config.input_size[1:])

    @staticmethod
    def build(params: TimmParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float) -> nn.Module:
        return _create(params, shape, n_classes, dropout, pretrained=False)

    @staticmethod
    def pretrained(
        params: TimmParams,
        *,
        shape: tuple[int, int, int],
        n_classes: int,
        dropout: float,
        weights: Mapping[str, torch.Tensor] | None,
    ) -> nn.Module:
        """Build the network with `weights` in timm's key names, or with those of the hub if there are none.

        timm adapts the first convolution to the channels and drops a head with other classes; 0 classes gives no head.
        Raises `ValueError` if the weights belong to another architecture.
        """
        overlay = {"state_dict": dict(weights)} if weights is not None else None
        try:
            network = _create(params, shape, n_classes, dropout, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the weights do not fit {params.kind}: {reason}") from None
        names = network.state_dict().keys()
        if weights is not None and 2 * len(names & weights.keys()) < len(names):  # timm accepts some of them
            found = f"only {len(names & weights.keys())} of its {len(names)} tensors are in the file"
            raise ValueError(f"the weights do not fit {params.kind}: {found}")
        if n_classes not in (0, network.pretrained_cfg["num_classes"]):  # type: ignore[index]
            renew_head(network)
        return network


def _create(
    params: TimmParams, shape: tuple[int, int, int], n_classes: int, dropout: float, **options: Any
) -> nn.Module:
    name = params.kind.removeprefix("timm/")
    if params.drop_path:
        options["drop_path_rate"] = params.drop_path
    config = timm.get_pretrained_cfg(name.split(".")[0])
    if config is not None and config.fixed_input_size:  # transformers and similar networks are built for one size
        options["img_size"] = shape[:2]
    network: nn.Module = timm.create_model(name, in_chans=shape[2], num_classes=n_classes, drop_rate=dropout, **options)
    return network
