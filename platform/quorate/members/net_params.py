"""The parameters of networks in a job file, and the checks and estimates before training."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from quorate.data.signature import ImageSignature, Signature
from quorate.data.standardize import Scheme, check_scheme
from quorate.data.weighting import WeightingParams
from quorate.members.earlier_epochs import CHANGEABLE, Earlier, check_earlier, continuing
from quorate.members.starting_point import check_head, check_weights, count_stages, least_size
from quorate.registry import ARCHS, INITIALIZATIONS, OPTIMIZERS, PRETRAININGS, SCHEDULES, KindParams, kind_of
from quorate.registry.own_code import OwnCodeError
from quorate.registry.parameter_names import named
from quorate.spec import ExistingPath
from quorate.training.augment import Augment
from quorate.training.averages import Swa
from quorate.training.context import Device, MemoryFormat
from quorate.training.convolutions import NarrowStrided, has_narrow_strided
from quorate.training.data_parallel import LEAST_ROWS
from quorate.training.finetuning import Finetune
from quorate.training.groups import Decayed, tells_layers
from quorate.training.initializations import DefaultParams
from quorate.training.number_embeddings import even_edges
from quorate.training.own import OwnArch
from quorate.training.schedule import TimedParams
from quorate.training.schedules import CosineParams
from quorate.training.shapes import Shape, TableShape
from quorate.training.stopping import EarlyStopping
from quorate.training.tta import Tta


def _with_patience(value: object) -> object:
    """Expand `early_stopping: 10` (or `patience: 10`) to `{patience: 10}`."""
    return {"patience": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _as_range(value: object) -> object:
    """Check a range of workers, and write a range of one number as this number."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 2:
        raise ValueError(f"{list(value)} has {len(value)} numbers; give the least and the largest, such as [1, 8]")
    least, most = value
    if isinstance(least, int) and isinstance(most, int) and least > most:
        raise ValueError(f"{list(value)} starts with the larger number; write [{most}, {least}]")
    return least if least == most else tuple(value)


_Count = Annotated[int, Field(ge=1, le=1000)]
Workers = Annotated[_Count | tuple[_Count, _Count], BeforeValidator(_as_range)]


# The defaults of `epochs`, `batch_size`, `lr` and `weight_decay` are assumptions, not measurements. Other parts are off
# by default.
class NetParams(WeightingParams):
    kind: Literal["net"] = "net"
    arch: kind_of(ARCHS)  # type: ignore[valid-type]
    """Architecture: `mlp`, `tabm`, `small_cnn`, `small_resnet`, `timm/NAME` or `torchvision/NAME`."""
    epochs: int = Field(20, ge=1, le=100_000, validation_alias=named("epochs", "max_epochs", "num_epochs"))
    """Number of passes over the training rows."""
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] | Literal["auto"] = 64
    """Number of rows per batch; `auto` uses the largest power of two that fits in memory and leaves at least eight
    steps per epoch."""
    lr: float = Field(1e-2, gt=0, le=100, validation_alias=named("lr", "learning_rate"))
    """Learning rate; the maximum if the schedule varies it."""
    optimizer: kind_of(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    """The update rule for the weights; see the optimizers below."""
    schedule: kind_of(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    """How the learning rate varies; see the schedules below."""
    weight_decay: float = Field(1e-3, ge=0, lt=1)
    """Factor of the L2 penalty, as in torch's optimizers."""
    decay: Decayed = "all"
    """Parameters that `weight_decay` applies to: `all`, or `weights` (without biases, norms and other one-dimensional
    parameters)."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """For fine-tuning: ratio of each layer's learning rate to that of the next layer. The last layer uses `lr`; 1 gives
    all layers the same learning rate."""
    init: kind_of(INITIALIZATIONS) = DefaultParams()  # type: ignore[valid-type]
    """Initial values of the weights; see the initializations below."""
    dropout: float = Field(0.0, ge=0, lt=1, validation_alias=named("dropout", "drop_rate"))
    """Probability of dropping a unit before the last layer (in `mlp`: in every hidden layer)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Fraction of each label that is spread over all classes (Szegedy et al., 2016)."""
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Maximum L2 norm of all gradients together; larger gradients are scaled down."""
    accumulate: int = Field(1, ge=1, le=10_000)
    """Number of batches whose gradients are added up for one step. The effect is that of a batch this many times
    larger, without its memory."""
    l1: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Factor of an L1 penalty on the weights of layers, without biases and normalizations."""
    max_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Maximum L2 norm of the weights into one unit, enforced after each step (3 or 4 are usual, with dropout)."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay per step of a moving average of the weights (0.999 is usual), which becomes a second member `NAME.ema`."""
    swa: Swa | None = None
    """Average of the last epochs' weights, which becomes a second member `NAME.swa`; see below."""
    snapshots: int = Field(1, ge=1, le=100)
    """Number of members from one run: the learning rate falls along a cosine in this number of cycles, and the weights
    at the end of each cycle but the last are the members `NAME.cycle1`, `NAME.cycle2` ..."""
    mc_dropout: int = Field(0, ge=0, le=1000)
    """Monte Carlo dropout: number of forward passes with dropped units whose predictions are averaged; 0 turns it
    off."""
    early_stopping: Annotated[
        EarlyStopping | None,
        BeforeValidator(_with_patience, json_schema_input_type=EarlyStopping | Annotated[int, Field(ge=1)] | None),
    ] = Field(None, validation_alias=named("early_stopping", "patience"))
    """When to stop before the last epoch: a mapping, or only the patience in epochs; see below."""
    augment: Augment = Augment()
    """Augmentations of the training images; see below."""
    tta: Tta | None = None
    """Test-time augmentation: average the predictions for several variants of each image; see below."""
    standardize: Literal["auto"] | Scheme = "auto"
    """`auto` uses the mean and standard deviation of the backbone with `weights`, otherwise those of each channel; on
    tables it uses `quantile`."""
    size: int | None = Field(None, ge=4, le=4096)
    """Side to which images are resized before the network; by default they are not resized."""
    weights: Literal["hub"] | ExistingPath | None = None
    """Start from the weights that timm or torchvision offer (`hub`), or from a .safetensors or .pth file with the
    architecture's parameter names."""
    pretrain: kind_of(PRETRAININGS) | None = None  # type: ignore[valid-type]
    """First learn from images without their labels; see the pretrainings below."""
    finetune: Finetune | None = None
    """How the initial weights are fine-tuned; by default all parts are trained alike. See below."""
    earlier: Earlier | None = None
    """Other parameters in the first epochs; population based training writes them. See below."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` uses bfloat16 for training if the hardware is faster with it; predictions use float32."""
    workers: Workers = 1
    """Number of processes that train the network together, each with `cpus`, `gpus` and `memory`, and each on a part of
    every batch; `[1, 8]` takes as many as are free, at least 1 and at most 8."""
    sync_batchnorm: bool = False
    """Whether `workers` share the statistics of batch normalizations; otherwise each uses those of its part of the
    batch."""

    @property
    def most_epochs(self) -> int:
        return self.epochs + (self.pretrain.epochs if self.pretrain is not None else 0)

    @property
    def worker_range(self) -> tuple[int, int]:
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    @property
    def stopping_metric(self) -> str | None:
        return self.early_stopping.metric if self.early_stopping is not None else None

    @property
    def began_as(self) -> str | None:
        return self.earlier.member if self.earlier is not None else None

    @property
    def pretraining(self) -> KindParams | None:
        return self.pretrain

    def search_space(self) -> dict[str, Any]:
        """The learning rate and the batch size around their values, which depend on the optimizer and the data; the
        schedule, unless snapshots set it; the regularization."""
        space: dict[str, Any] = {"lr": f"log_uniform({self.lr / 10:g}, {min(10 * self.lr, 100.0):g})"}
        if self.snapshots == 1:
            space["schedule"] = {"constant": None, "cosine": None, "one_cycle": None}
        space |= {"weight_decay": "log_uniform(1e-5, 1e-2)", "dropout": "uniform(0, 0.5)"}
        if self.batch_size != "auto":
            least = max(2, LEAST_ROWS * self.worker_range[1] if self.worker_range[1] > 1 else 2)
            sizes = (self.batch_size // 2, self.batch_size, 2 * self.batch_size)
            space["batch_size"] = [size for size in sizes if size >= least]
        return space

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
                "features is for members that are not networks; for a network, set arch: timm/NAME and weights: instead"
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
            raise ValueError(
                f"{several} needs all epochs, but early_stopping can end the training before; remove one of them"
            )
        if self.snapshots > 1 and (
            not isinstance(self.schedule, CosineParams) or self.schedule.cycles != self.snapshots
        ):
            raise ValueError(
                f"snapshots: {self.snapshots} are taken at the ends of cycles; remove schedule, or write "
                f"{{kind: cosine, cycles: {self.snapshots}}}"
            )
        if self.mc_dropout and not self.dropout:
            raise ValueError("mc_dropout requires dropout, but dropout is 0; set it, for example to 0.2")
        if isinstance(self.weights, Path) and not self.weights.is_file():
            raise ValueError(f"weights: {self.weights} is not a file")
        for part in (self.optimizer, self.schedule):
            if isinstance(part, TimedParams):
                part.check_epochs(self.epochs)
        if self.weights is not None and self.init.kind != "default":
            raise ValueError(f"init: {self.init.kind} would overwrite the loaded weights; remove one of them")
        if self.weights == "hub" and not ARCHS.get(self.arch.kind).loads_weights:
            raise ValueError(
                f"weights: hub needs a timm or torchvision architecture, and {self.arch.kind!r} is neither"
            )
        return self

    def can_change(self, path: str) -> bool:
        return path.partition(".")[0] in CHANGEABLE and path != "optimizer"  # another kind has other moments

    def continuing(self, other: Self, *, member: str, until: int) -> Self:
        return continuing(self, other, member=member, until=until)

    @model_validator(mode="after")
    def _was_another_network_before(self) -> NetParams:
        if self.earlier is not None:
            check_earlier(self, self.earlier)
        return self

    @model_validator(mode="after")
    def _trains_with_workers(self) -> NetParams:
        most = self.worker_range[1]
        if most == 1:
            if self.sync_batchnorm:
                raise ValueError("sync_batchnorm is for several workers, but workers is 1; set workers, or remove it")
            return self
        if self.pretrain is not None:
            raise ValueError("pretrain works with one worker only; remove workers or pretrain")
        if self.batch_size != "auto" and self.batch_size < LEAST_ROWS * most:
            raise ValueError(
                f"{most} workers need a batch_size of at least {LEAST_ROWS * most}, which is {LEAST_ROWS} rows for "
                f"each, but it is {self.batch_size}; raise batch_size or lower workers"
            )
        return self

    @model_validator(mode="after")
    def _starts_from_something(self) -> NetParams:
        kind = self.pretrain.kind if self.pretrain is not None else None
        narrow = kind is not None and PRETRAININGS.get(kind).convolutional
        if narrow and not ARCHS.get(self.arch.kind).convolutional:
            raise ValueError(
                f"pretrain: {kind} requires a convolutional architecture, but {self.arch.kind!r} is not one; "
                "choose pretrain: autoencoder"
            )
        if self.finetune is not None:
            if self.weights is None and kind is None:
                raise ValueError("finetune requires initial weights: add weights or pretrain, or leave it out")
            self.finetune.check_epochs(self.epochs)
            if self.layer_decay < 1 and self.finetune.freeze == "none" and self.finetune.backbone_lr < 1:
                raise ValueError(
                    f"layer_decay: {self.layer_decay:g} and finetune.backbone_lr: {self.finetune.backbone_lr:g} would "
                    "both lower the learning rate of the layers below the head; remove layer_decay, or set backbone_lr "
                    "to 1"
                )
        return self


_TYPICAL_CARDINALITY = 16
"""Number of categories per column in the estimate of the cost, before the columns are read. An assumption, not a
measurement."""


def expected_shape(params: NetParams, signature: Signature) -> Shape:
    """Return the shape of the network's input, if it is known before the columns are encoded."""
    if isinstance(signature, ImageSignature):
        return (params.size, params.size, signature.shape[2]) if params.size else signature.shape
    categories = len(signature.names("categorical"))
    numbers, bins = signature.size - categories, ARCHS.get(params.arch.kind).bins(params.arch)
    edges = even_edges(numbers, bins) if bins else ()
    return TableShape(numbers, (_TYPICAL_CARDINALITY,) * categories, edges)


def check_inputs(params: NetParams, signature: Signature) -> None:
    """Raise `ValueError` if the network cannot take such rows, or if parameters do not apply to them."""
    if signature.kind not in ARCHS.get(params.arch.kind).takes:
        names = [f"{name}NAME" if name.endswith("/") else name for name in ARCHS.names()]
        fitting = [name for name in names if signature.kind in ARCHS.get(name).takes]
        raise ValueError(f"arch {params.arch.kind} does not accept {signature}; choose {' or '.join(fitting)}")
    check_scheme(params.standardize, signature)
    if params.standardize == "pca" and signature.kind == "image" and ARCHS.get(params.arch.kind).convolutional:
        raise ValueError(
            f"standardize: pca does not preserve the image, which {params.arch.kind} needs; choose zca, which "
            "preserves it"
        )
    if signature.kind == "table":
        for name in ("size", "weights", "augment", "tta", "pretrain", "finetune"):
            if getattr(params, name) != type(params).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} works only with images, but the data are {signature}; remove it")
    else:
        check_augment(params, signature)
        _check_start(params, signature)
    if params.layer_decay < 1 and not profile(params.arch, expected_shape(params, signature)).layered:
        raise ValueError(
            f"layer_decay is {params.layer_decay:g}, but the order of the layers of {params.arch.kind} is not known; "
            "leave it out, or use an architecture of timm or a built-in one"
        )


def _check_start(params: NetParams, signature: Signature) -> None:
    """Raise `ValueError` if the network cannot take images of that size, or cannot start from the given weights."""
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
        has = f"the size is {params.size}" if params.size else "they are not resized"
        raise ValueError(
            f"{reason}; {has}, and the smallest larger size that {params.arch.kind} takes is {side}: set size: {side}"
        ) from error
    if isinstance(params.weights, Path):
        check_weights(params.arch, shape, params.weights)
    if params.pretrain is not None or params.finetune is not None:
        check_head(params.arch, shape, pretrain=params.pretrain is not None)
    if params.finetune is not None:
        params.finetune.check_stages(count_stages(params.arch, shape), params.epochs)


def check_augment(params: NetParams, signature: ImageSignature) -> None:
    """Raise `ValueError` if `augment` and `tta` cannot be applied to images of that signature."""
    named = {"augment": params.augment, "tta.augment": params.tta.augment if params.tta is not None else Augment()}
    for name, augment in named.items():
        try:
            augment.check(signature.shape)
        except ValueError as error:
            raise ValueError(f"{name}.{error}") from None


def check_classes(params: NetParams, n_classes: int) -> None:
    """Raise `ValueError` if an augmentation mixes labels, but there is only one class."""
    if n_classes < 2 and (mixing := [step.kind for step in params.augment.mixing]):
        raise ValueError(f"augment.{mixing[0]} mixes labels, but there is only one class; leave it out")


@dataclass(frozen=True)
class Profile:
    """The cost of a forward pass for one image, and the types of convolutions."""

    flops: int
    grouped: bool
    """Whether there are grouped convolutions."""
    narrow_strided: bool
    """Whether there are strided 1x1 convolutions with few channels, which must not run channels last on a CPU."""
    layered: bool
    """Whether the order of the network's layers is known."""

    def memory_format(self, *, convolutional: bool, device: Device) -> MemoryFormat:
        """Choose the memory format of images. Channels last is faster for convolutions; it is used if they are computed
        correctly."""
        sound = device == "cuda" or not self.narrow_strided
        return "channels_last" if convolutional and sound else "contiguous"

    @classmethod
    def measure(cls, classify: Callable[[], nn.Module]) -> Profile:
        """Measure the network that `classify` returns after classifying one row with it."""
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
