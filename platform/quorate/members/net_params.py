"""What a network takes from a job file, and what follows from it before anything is trained."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from quorate.data.signature import ImageSignature, Signature
from quorate.data.standardize import Scheme, check_scheme
from quorate.data.weighting import WeightedParams
from quorate.kinds import ARCHS, OPTIMIZERS, SCHEDULES, KindParams, kind_of
from quorate.spec import ExistingPath
from quorate.training.augment import Augment
from quorate.training.loop import EarlyStopping
from quorate.training.own import OwnArch
from quorate.training.shapes import Shape, TableShape
from quorate.training.tta import Tta


class NetParams(WeightedParams):
    kind: Literal["net"] = "net"
    arch: kind_of(ARCHS)  # type: ignore[valid-type]
    """Architecture: `mlp`, `small_cnn`, `small_resnet`, `timm/NAME` or `torchvision/NAME`."""
    epochs: int = Field(20, ge=1, le=100_000)
    """Passes over the training rows."""
    batch_size: int = Field(64, ge=2, le=1_000_000)
    """Rows of one step."""
    lr: float = Field(1e-2, gt=0, le=100)
    """Learning rate; the highest one where the schedule varies it."""
    optimizer: kind_of(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    """What turns gradients into steps; see the optimizers below."""
    schedule: kind_of(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    """How the learning rate varies; see the schedules below."""
    weight_decay: float = Field(1e-3, ge=0, lt=1)
    """L2 penalty's factor, as torch's optimizers take it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a unit before the last layer (every hidden layer of `mlp`)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Part of each label that is spread over all classes (Szegedy et al., 2016)."""
    early_stopping: EarlyStopping | None = None
    """When to end before the last epoch; see below."""
    augment: Augment = Augment()
    """How training images are varied; see below."""
    tta: Tta | None = None
    """Test-time augmentation: predict several variants of each image and average; see below."""
    standardize: Literal["auto"] | Scheme = "auto"
    """`auto` takes the backbone's own mean and deviation with `weights`, else those of each channel;
    on tables `quantile`."""
    size: int | None = Field(None, ge=4, le=4096)
    """Side to which images are resized before the network; as they are when left out."""
    weights: Literal["hub"] | ExistingPath | None = None
    """Start from the weights that timm or torchvision offer (`hub`), or from a .safetensors or .pth file in the
    architecture's key names."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` takes bfloat16 for training where the hardware is faster with it; predictions are float32."""

    @model_validator(mode="after")
    def _stops_within_its_epochs(self) -> NetParams:
        if self.early_stopping and self.early_stopping.patience > self.epochs:
            raise ValueError(
                f"early_stopping.patience is {self.early_stopping.patience}, more than the {self.epochs} epochs; "
                "lower it or raise epochs"
            )
        if isinstance(self.weights, Path) and not self.weights.is_file():
            raise ValueError(f"weights: {self.weights} is not a file")
        if self.weights == "hub" and not hasattr(ARCHS.get(self.arch.kind), "pretrained"):
            raise ValueError(
                f"weights: hub needs a timm or torchvision architecture, and {self.arch.kind!r} is neither"
            )
        return self


_TYPICAL_CARDINALITY = 16


def expected_shape(params: NetParams, signature: Signature) -> Shape:
    """What the network will take, as far as it is known before its columns are encoded."""
    if isinstance(signature, ImageSignature):
        return (params.size, params.size, signature.shape[2]) if params.size else signature.shape
    categories = len(signature.names("categorical"))
    return TableShape(signature.size - categories, (_TYPICAL_CARDINALITY,) * categories)


def check_inputs(params: NetParams, signature: Signature) -> None:
    """Raise `ValueError` where the network cannot take such rows, or parameters have no meaning for them."""
    if signature.kind not in ARCHS.get(params.arch.kind).takes:
        names = [f"{name}NAME" if name.endswith("/") else name for name in ARCHS.names()]
        fitting = [name for name in names if signature.kind in ARCHS.get(name).takes]
        raise ValueError(f"arch {params.arch.kind} does not take {signature}; choose {' or '.join(fitting)}")
    check_scheme(params.standardize, signature)
    if signature.kind == "table":
        for name in ("size", "weights", "augment", "tta"):
            if getattr(params, name) != type(params).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} is for images, and these are {signature}; leave it out")
    else:
        check_augment(params, signature)


def check_augment(params: NetParams, signature: ImageSignature) -> None:
    """Raise `ValueError` where images of that signature cannot be varied as `augment` and `tta` say."""
    named = {"augment": params.augment, "tta.augment": params.tta.augment if params.tta is not None else Augment()}
    for name, augment in named.items():
        try:
            augment.check(signature.shape)
        except ValueError as error:
            raise ValueError(f"{name}.{error}") from None


def check_classes(params: NetParams, n_classes: int) -> None:
    """Raise `ValueError` where labels are to be mixed, and there is nothing to mix."""
    if n_classes < 2 and (mixing := [step.kind for step in params.augment.mixing]):
        raise ValueError(f"augment.{mixing[0]} mixes labels, and there is one class only; leave it out")


@dataclass(frozen=True)
class Profile:
    """What one image costs in a pass forward, and which convolutions there are."""

    flops: int
    grouped: bool
    """Whether some are grouped."""
    narrow_strided: bool
    """Whether some are 1x1, strided, and take fewer than eight channels."""

    @classmethod
    def of(cls, network: nn.Module, flops: int) -> Profile:
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        return cls(
            flops,
            any(conv.groups > 1 for conv in convolutions),
            any(conv.kernel_size == (1, 1) != conv.stride and conv.in_channels < 8 for conv in convolutions),
        )


@functools.lru_cache(maxsize=256)
def profile(arch: KindParams, shape: Shape) -> Profile:
    kind = ARCHS.get(arch.kind)
    if isinstance(kind, OwnArch):
        with FlopCounterMode(display=False) as counter:
            network = kind.trial(arch, shape=shape, n_classes=2)
        return Profile.of(network, counter.get_total_flops())
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = kind.build(arch, shape=shape, n_classes=2, dropout=0.0).eval()
        with FlopCounterMode(display=False) as counter:
            network(
                torch.zeros(1, shape.size) if isinstance(shape, TableShape) else torch.empty(1, shape[2], *shape[:2])
            )
    return Profile.of(network, counter.get_total_flops())
