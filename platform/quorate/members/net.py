"""Networks: the built-in architectures and every one of timm."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from quorate.data.dataset import Dataset, Images
from quorate.data.standardize import Standardizer, fit_standardizer
from quorate.kinds import ARCHS, MEMBERS, OPTIMIZERS, SCHEDULES, KindParams, kind_of
from quorate.members.base import Proba, read_header, write_header
from quorate.spec import ExistingPath, MemberParams
from quorate.training.feed import Augment, Feed, labels_of
from quorate.training.loop import EarlyStopping, History, Recipe, fit_network, predict
from quorate.training.run import Hardware, Numerics, Run
from quorate.training.weights import WeightsError, read_weights

Shape = tuple[int, int, int]

_WEIGHTS = "weights.safetensors"


class NetParams(MemberParams):
    kind: Literal["net"] = "net"
    arch: kind_of(ARCHS)  # type: ignore[valid-type]
    """Architecture: `mlp`, `small_cnn`, `small_resnet`, or `timm/NAME`."""
    epochs: int = Field(20, ge=1, le=100_000)
    """Passes over the training rows."""
    batch_size: int = Field(64, ge=2, le=1_000_000)
    """Rows of one step."""
    lr: float = Field(1e-2, gt=0, le=100)
    """Learning rate; the highest one where the schedule varies it."""
    optimizer: kind_of(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    schedule: kind_of(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    weight_decay: float = Field(1e-3, ge=0, lt=1)
    """L2 penalty's factor, as torch's optimizers take it."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a unit before the last layer (every hidden layer of `mlp`)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Part of each label that is spread over all classes (Szegedy et al., 2016)."""
    early_stopping: EarlyStopping | None = None
    augment: Augment = Augment()
    standardize: Literal["auto", "channel", "feature", "sample", "none"] = "auto"
    """`auto` takes the backbone's own mean and deviation with `weights`, else those of each channel."""
    size: int | None = Field(None, ge=4, le=4096)
    """Side to which images are resized before the network; as they are when left out."""
    weights: Literal["hub"] | ExistingPath | None = None
    """Start from timm's hub (`hub`), or from a .safetensors or .pth file in the architecture's key names."""
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
        if self.weights == "hub" and not self.arch.kind.startswith("timm/"):
            raise ValueError(f"weights: hub needs a timm architecture, and {self.arch.kind!r} is not one")
        return self


@MEMBERS.register("net")
class Net:
    """A network trained by the loop of `quorate.training`."""

    Params = NetParams
    version: ClassVar[int] = 1

    def __init__(self, params: NetParams, *, shape: Shape, n_classes: int) -> None:
        self.params = params
        self.shape = shape
        self.n_classes = n_classes
        self.history: History = []
        self.network: nn.Module | None = None
        self.standardizer = Standardizer("none")
        self._device: Numerics = Numerics()

    @classmethod
    def numerics(cls, params: NetParams, *, shape: Shape, rows: int, hardware: Hardware) -> Numerics:
        convolutional = ARCHS.get(params.arch.kind).convolutional
        cuda = params.gpus > 0
        # Measured on a CPU with avx512_bf16: below 16 pixels the conversions cost more than they give,
        # and grouped convolutions took twice as long in bfloat16.
        side = min(_input_shape(params, shape)[:2])
        suits = convolutional and side >= 16 and not _profile(params.arch, _input_shape(params, shape)).grouped
        worth_it = hardware.fast_bfloat16 and (cuda or suits)
        chosen = ("bfloat16" if worth_it else "float32") if params.precision == "auto" else params.precision
        return Numerics(
            precision=chosen,
            memory_format="channels_last" if convolutional else "contiguous",
            threads=max(1, int(params.cpus)),
            device="cuda" if cuda else "cpu",
            batch_size=min(params.batch_size, rows),
        )

    @classmethod
    def cost(cls, params: NetParams, *, shape: Shape, rows: int, n_classes: int) -> float:
        flops = _profile(params.arch, _input_shape(params, shape)).flops
        # A pass back costs two forward; 20 Gflop/s and .2 ms an image and core were measured.
        return float(rows * params.epochs * (3 * flops / 20e9 + 2e-4))

    def fit(self, train: Dataset, valid: Dataset, run: Run) -> Self:
        torch.set_num_threads(run.numerics.threads)
        torch.manual_seed(run.seed)
        network = self._start(run)
        self.standardizer = self._standardizer(network, train)
        device = torch.device(run.numerics.device)
        memory = torch.channels_last if run.numerics.memory_format == "channels_last" else torch.contiguous_format
        network.to(device=device, memory_format=memory)  # type: ignore[call-overload]
        self.network, self._device = network, run.numerics
        p = self.params
        recipe = Recipe(
            epochs=p.epochs,
            optimizer=lambda net: OPTIMIZERS.get(p.optimizer.kind).build(
                p.optimizer, net.parameters(), lr=p.lr, weight_decay=p.weight_decay
            ),
            schedule=lambda optimizer, epochs, steps: SCHEDULES.get(p.schedule.kind).build(
                p.schedule, optimizer, epochs=epochs, steps=steps
            ),
            augment=p.augment,
            early_stopping=p.early_stopping,
            label_smoothing=p.label_smoothing,
        )
        self.history = fit_network(
            network,
            train=(self._feed(train.x), labels_of(train, run.numerics)),
            valid=(self._feed(valid.x), labels_of(valid, run.numerics)),
            n_classes=self.n_classes,
            recipe=recipe,
            run=run,
        )
        return self

    def predict_proba(self, images: Images) -> Proba:
        assert self.network is not None, "fit or load first"
        proba: Proba = predict(self.network, self._feed(images)).numpy()
        return proba

    def save(self, folder: Path) -> None:
        assert self.network is not None, "fit or load first"
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(weights, folder / _WEIGHTS)
        plain = self.params.model_copy(update={"weights": None})
        write_header(
            folder,
            params=plain,
            shape=list(self.shape),
            n_classes=self.n_classes,
            standardizer=self.standardizer.to_json(),
            memory_format=self._device.memory_format,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        header = read_header(folder)
        params = NetParams.model_validate(header["params"])
        height, width, channels = header["shape"]
        member = cls(params, shape=(height, width, channels), n_classes=header["n_classes"])
        with torch.device("meta"):
            network = _build(params, member.shape, member.n_classes)
        if network.state_dict().keys() != {name for name, _ in (*network.named_parameters(), *network.named_buffers())}:
            network = _build(params, member.shape, member.n_classes)  # some buffers are computed and not saved
        network.load_state_dict(load_file(folder / _WEIGHTS), assign=True)
        member.standardizer = Standardizer.from_json(header["standardizer"])
        member._device = Numerics(memory_format=header["memory_format"])
        memory = torch.channels_last if header["memory_format"] == "channels_last" else torch.contiguous_format
        member.network = network.to(memory_format=memory).eval()
        return member

    def _start(self, run: Run) -> nn.Module:
        """The network before training: fresh, or with the weights that were asked for."""
        p, arch = self.params, ARCHS.get(self.params.arch.kind)
        if p.weights is None:
            return _build(p, self.shape, self.n_classes)
        weights = None if p.weights == "hub" else read_weights(run.asset(Path(p.weights)))
        if hasattr(arch, "pretrained"):
            network: nn.Module = arch.pretrained(
                p.arch,
                shape=_input_shape(p, self.shape),
                n_classes=self.n_classes,
                dropout=p.dropout,
                weights=weights,
            )
            return network
        network = _build(p, self.shape, self.n_classes)
        assert weights is not None, "refused when the job file was read"
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(f"{p.weights} does not fit {p.arch.kind}: {error}") from None
        return network

    def _standardizer(self, network: nn.Module, train: Dataset) -> Standardizer:
        if self.params.standardize != "auto":
            return fit_standardizer(train.x, self.params.standardize)
        config: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        if self.params.weights is None or len(config.get("mean", ())) != self.shape[2]:
            return fit_standardizer(train.x, "channel")
        return Standardizer.of_channels(config["mean"], config["std"])

    def _feed(self, images: Images) -> Feed:
        return Feed(images, standardize=self.standardizer, numerics=self._device, size=self.params.size)


def _input_shape(params: NetParams, shape: Shape) -> Shape:
    return (params.size, params.size, shape[2]) if params.size else shape


@dataclass(frozen=True)
class _Profile:
    """What one image costs in a pass forward, and whether there are grouped convolutions."""

    flops: int
    grouped: bool


@functools.lru_cache(maxsize=256)
def _profile(arch: KindParams, shape: Shape) -> _Profile:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: nn.Module = ARCHS.get(arch.kind).build(arch, shape=shape, n_classes=2, dropout=0.0).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, shape[2], *shape[:2]))
    grouped = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in network.modules())
    return _Profile(counter.get_total_flops(), grouped)


def _build(params: NetParams, shape: Shape, n_classes: int) -> nn.Module:
    network: nn.Module = ARCHS.get(params.arch.kind).build(
        params.arch, shape=_input_shape(params, shape), n_classes=n_classes, dropout=params.dropout
    )
    return network
