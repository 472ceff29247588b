"""What a network takes from a job file, and what follows from it before anything is trained."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from quorate.data.signature import ImageSignature, Signature
from quorate.data.standardize import Scheme, check_scheme
from quorate.data.weighting import WeightingParams
from quorate.members.starting_point import check_head, check_weights, count_stages, least_size
from quorate.registry import ARCHS, INITIALIZATIONS, OPTIMIZERS, PRETRAININGS, SCHEDULES, KindParams, kind_of
from quorate.registry.own_code import OwnCodeError
from quorate.registry.parameter_names import named
from quorate.spec import ExistingPath
from quorate.training.augment import Augment
from quorate.training.averages import Swa
from quorate.training.context import Device, MemoryFormat
from quorate.training.convolutions import NarrowStrided, has_narrow_strided
from quorate.training.finetuning import Finetune
from quorate.training.groups import Decayed, tells_layers
from quorate.training.initializations import DefaultParams
from quorate.training.own import OwnArch
from quorate.training.schedule import TimedParams
from quorate.training.shapes import Shape, TableShape
from quorate.training.stopping import EarlyStopping
from quorate.training.tta import Tta


def _with_patience(value: object) -> object:
    """`early_stopping: 10` (or `patience: 10`) is short for `{patience: 10}`."""
    return {"patience": value} if isinstance(value, int) and not isinstance(value, bool) else value


class NetParams(WeightingParams):
    kind: Literal["net"] = "net"
    arch: kind_of(ARCHS)  # type: ignore[valid-type]
    """Architecture: `mlp`, `small_cnn`, `small_resnet`, `timm/NAME` or `torchvision/NAME`."""
    epochs: int = Field(20, ge=1, le=100_000, validation_alias=named("epochs", "max_epochs", "num_epochs"))
    """Passes over the training rows."""
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] | Literal["auto"] = 64
    """Rows of one batch; `auto` takes the largest power of two that fits in memory and leaves an epoch eight steps."""
    lr: float = Field(1e-2, gt=0, le=100, validation_alias=named("lr", "learning_rate"))
    """Learning rate; the highest one where the schedule varies it."""
    optimizer: kind_of(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    """What turns gradients into steps; see the optimizers below."""
    schedule: kind_of(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    """How the learning rate varies; see the schedules below."""
    weight_decay: float = Field(1e-3, ge=0, lt=1)
    """L2 penalty's factor, as torch's optimizers take it."""
    decay: Decayed = "all"
    """Which parameters `weight_decay` is for: `all`, or `weights` without biases, norms and others of one dimension."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Rate of each layer over that of the next one; the last layer has `lr`, with 1 all have. For fine-tuning."""
    init: kind_of(INITIALIZATIONS) = DefaultParams()  # type: ignore[valid-type]
    """What the weights begin as; see the initializations below."""
    dropout: float = Field(0.0, ge=0, lt=1, validation_alias=named("dropout", "drop_rate"))
    """Probability of dropping a unit before the last layer (every hidden layer of `mlp`)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Part of each label that is spread over all classes (Szegedy et al., 2016)."""
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Greatest L2 norm of all gradients together; larger ones are scaled down to it."""
    accumulate: int = Field(1, ge=1, le=10_000)
    """Batches whose gradients make one step: as a batch so many times larger, in the memory of one."""
    l1: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Factor of an L1 penalty on the weights of layers, biases and normalizations left out."""
    max_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Greatest L2 norm of the weights into one unit, restored after each step (3 or 4 are usual, with dropout)."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay, for each step, of a moving average of the weights (0.999 is usual): a second member `NAME.ema`."""
    swa: Swa | None = None
    """Average of the last epochs' weights: a second member `NAME.swa`; see below."""
    snapshots: int = Field(1, ge=1, le=100)
    """Members from one run: the rate falls along a cosine in so many cycles, and the weights at the end of each but
    the last are the members `NAME.cycle1`, `NAME.cycle2` ..."""
    mc_dropout: int = Field(0, ge=0, le=1000)
    """Monte Carlo dropout: predictions are averaged over so many networks with units dropped; 0 drops none."""
    early_stopping: Annotated[
        EarlyStopping | None,
        BeforeValidator(_with_patience, json_schema_input_type=EarlyStopping | Annotated[int, Field(ge=1)] | None),
    ] = Field(None, validation_alias=named("early_stopping", "patience"))
    """When to end before the last epoch: a mapping, or the patience in epochs alone; see below."""
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
    pretrain: kind_of(PRETRAININGS) | None = None  # type: ignore[valid-type]
    """Learn from images without their labels first; see the pretrainings below."""
    finetune: Finetune | None = None
    """How the weights that the network starts from are trained on; all alike when left out. See below."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` takes bfloat16 for training where the hardware is faster with it; predictions are float32."""

    @property
    def most_epochs(self) -> int:
        return self.epochs + (self.pretrain.epochs if self.pretrain is not None else 0)

    @property
    def stopping_metric(self) -> str | None:
        return self.early_stopping.metric if self.early_stopping is not None else None

    @property
    def pretraining(self) -> KindParams | None:
        return self.pretrain

    @model_validator(mode="before")
    @classmethod
    def _snapshots_come_with_their_schedule(cls, given: Any) -> Any:
        cycles = given.get("snapshots") if isinstance(given, Mapping) else None
        if isinstance(cycles, int) and cycles > 1 and "schedule" not in given:
            return {**given, "schedule": {"kind": "cosine", "cycles": cycles}}
        return given

    @model_validator(mode="before")
    @classmethod
    def _is_a_backbone_itself(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "features" in given:
            raise ValueError(
                "features: is for scikit-learn's members; a network is one itself: write arch: timm/NAME with weights:"
            )
        return given

    @model_validator(mode="after")
    def _stops_within_its_epochs(self) -> NetParams:
        if self.early_stopping and self.early_stopping.patience > self.epochs:
            raise ValueError(
                f"early_stopping.patience is {self.early_stopping.patience}, more than the {self.epochs} epochs; "
                "lower it or raise epochs"
            )
        if self.early_stopping and (self.swa or self.snapshots > 1):
            several = "swa" if self.swa else "snapshots"
            raise ValueError(f"{several} needs all epochs, and early_stopping ends before them; leave one of them out")
        if self.snapshots > 1 and getattr(self.schedule, "cycles", 1) != self.snapshots:
            raise ValueError(
                f"snapshots: {self.snapshots} are taken at the ends of cycles; leave schedule out, or take "
                f"{{kind: cosine, cycles: {self.snapshots}}}"
            )
        if self.mc_dropout and not self.dropout:
            raise ValueError("mc_dropout averages over dropped units, and dropout is 0; set dropout, 0.2 for example")
        if isinstance(self.weights, Path) and not self.weights.is_file():
            raise ValueError(f"weights: {self.weights} is not a file")
        for part in (self.optimizer, self.schedule):
            if isinstance(part, TimedParams):
                part.check_epochs(self.epochs)
        if self.weights is not None and self.init.kind != "default":
            raise ValueError(f"init: {self.init.kind} would overwrite the weights that are read; leave one of them out")
        if self.weights == "hub" and not ARCHS.get(self.arch.kind).loads_weights:
            raise ValueError(
                f"weights: hub needs a timm or torchvision architecture, and {self.arch.kind!r} is neither"
            )
        return self

    @model_validator(mode="after")
    def _starts_from_something(self) -> NetParams:
        kind = self.pretrain.kind if self.pretrain is not None else None
        narrow = kind is not None and PRETRAININGS.get(kind).convolutional
        if narrow and not ARCHS.get(self.arch.kind).convolutional:
            raise ValueError(
                f"pretrain: {kind} is for convolutional architectures, and {self.arch.kind!r} is none; "
                "choose pretrain: autoencoder"
            )
        if self.finetune is not None:
            if self.weights is None and kind is None:
                raise ValueError("finetune needs something to start from: add weights or pretrain, or leave it out")
            self.finetune.check_epochs(self.epochs)
            if self.layer_decay < 1 and self.finetune.freeze == "none" and self.finetune.backbone_lr < 1:
                raise ValueError(
                    f"layer_decay: {self.layer_decay:g} and finetune.backbone_lr: {self.finetune.backbone_lr:g} would "
                    "both lower the rate below the head; leave layer_decay out, or write finetune: {backbone_lr: 1}"
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
    if params.standardize == "pca" and signature.kind == "image" and ARCHS.get(params.arch.kind).convolutional:
        raise ValueError(
            f"standardize: pca leaves no image for {params.arch.kind}; choose zca, which keeps pixels in their places"
        )
    if signature.kind == "table":
        for name in ("size", "weights", "augment", "tta", "pretrain", "finetune"):
            if getattr(params, name) != type(params).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} is for images, and these are {signature}; leave it out")
    else:
        check_augment(params, signature)
        _check_start(params, signature)
    if params.layer_decay < 1 and not profile(params.arch, expected_shape(params, signature)).layered:
        raise ValueError(
            f"layer_decay is {params.layer_decay:g}, and {params.arch.kind} does not tell the order of its layers; "
            "leave it out, or take an architecture of timm or a built-in one"
        )


def _check_start(params: NetParams, signature: Signature) -> None:
    """Raise `ValueError` where the network cannot take images of that size, or start from what it is to start from."""
    shape = expected_shape(params, signature)
    assert not isinstance(shape, TableShape)
    try:
        profile(params.arch, shape)
    except OwnCodeError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        side = least_size(params.arch, shape)
        if side is None:
            raise
        reason = (str(error).strip().splitlines() or [repr(error)])[0].rstrip(".")
        has = f"the size is {params.size}" if params.size else "they come as they are"
        raise ValueError(
            f"{reason}; {has}, and the least size above that {params.arch.kind} takes is {side}: set size: {side}"
        ) from error
    if isinstance(params.weights, Path):
        check_weights(params.arch, shape, params.weights)
    if params.pretrain is not None or params.finetune is not None:
        check_head(params.arch, shape, pretrain=params.pretrain is not None)
    if params.finetune is not None:
        params.finetune.check_stages(count_stages(params.arch, shape), params.epochs)


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
    """Whether some are strided 1x1 convolutions of few channels, which must not run channels last on a CPU."""
    layered: bool
    """Whether the network tells the order of its layers."""

    def memory_format(self, *, convolutional: bool, device: Device) -> MemoryFormat:
        """How images lie in memory: channels last is faster for convolutions, where they are sound in it."""
        sound = device == "cuda" or not self.narrow_strided
        return "channels_last" if convolutional and sound else "contiguous"

    @classmethod
    def measure(cls, classify: Callable[[], nn.Module]) -> Profile:
        """The profile of the network that `classify` gives after it has classified one row with it."""
        with FlopCounterMode(display=False) as counter, NarrowStrided() as narrow:
            network = classify()
        return cls(
            counter.get_total_flops(),
            any(module.groups > 1 for module in network.modules() if isinstance(module, nn.Conv2d)),
            narrow.found or has_narrow_strided(network),
            tells_layers(network),
        )


@functools.lru_cache(maxsize=256)
def profile(arch: KindParams, shape: Shape) -> Profile:
    kind = ARCHS.get(arch.kind)
    if isinstance(kind, OwnArch):
        return Profile.measure(lambda: kind.trial(arch, shape=shape, n_classes=2))
    row = (1, shape.size) if isinstance(shape, TableShape) else (1, shape[2], *shape[:2])

    def classify() -> nn.Module:
        network: nn.Module = kind.build(arch, shape=shape, n_classes=2, dropout=0.0).eval()
        network(torch.zeros(row))
        return network

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Profile.measure(classify)
