"""Frozen networks of timm: what a job file says of one, what it takes, its weights, and the vectors that it gives."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from quorate.data.dataset import Images
from quorate.data.signature import Column, Signature, TableSignature
from quorate.data.standardize import Standardizer
from quorate.members.net_params import Profile
from quorate.registry import ARCHS, Spec
from quorate.spec import ExistingPath
from quorate.training.context import Device, Numerics
from quorate.training.feed import PixelFeed
from quorate.training.hub import from_hub
from quorate.training.weights import read_weights

VERSION = 1
"""Raised by hand when the same images and weights give other vectors than before."""

_FAMILY = "timm/"
_SIZES = (32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
"""Sides that are tried where one is too small, to name one that is not."""


class Backbone(Spec):
    """A frozen network of timm, whose pooled features members learn from."""

    arch: str
    """The network, as `timm/NAME`; its last layer is left out."""
    weights: Literal["hub"] | ExistingPath = "hub"
    """The weights that timm offers (`hub`), or a .safetensors or .pth file in timm's key names."""
    size: int | None = Field(None, ge=4, le=4096)
    """Side to which images are resized before the network; as they are when left out."""
    batch_size: int = Field(64, ge=1, le=100_000)
    """Images of one pass."""
    gpus: float = Field(0, ge=0, allow_inf_nan=False)
    """Accelerators that the computation holds; without one it runs on one core."""

    @field_validator("arch")
    @classmethod
    def _is_in_timm(cls, arch: str) -> str:
        if not arch.startswith(_FAMILY) or arch == _FAMILY:
            raise ValueError(f"features come from a network of timm, and {arch!r} is none: write timm/NAME")
        ARCHS.get(arch).Params(kind=arch)
        return arch

    @field_validator("weights")
    @classmethod
    def _is_a_file(cls, weights: str | Path) -> str | Path:
        if isinstance(weights, Path) and not weights.is_file():
            raise ValueError(f"{weights} is not a file")
        return weights

    def numerics(self, shape: tuple[int, int, int]) -> Numerics:
        """What decides the bits of its vectors for images of `shape` (H, W, C), besides weights and images."""
        device: Device = "cuda" if self.gpus else "cpu"
        convolutional = ARCHS.get(self.arch).convolutional
        memory_format = trial(self, shape).profile.memory_format(convolutional=convolutional, device=device)
        return Numerics(memory_format=memory_format, device=device, batch_size=self.batch_size)


def _named(value: object) -> object:
    return {"arch": value} if isinstance(value, str) else value


Features = Annotated[Backbone, BeforeValidator(_named, json_schema_input_type=str | Backbone)]
"""A backbone, or its bare name where the defaults serve."""


@dataclass(frozen=True)
class Trial:
    """What a network is for images of one shape, found without computing anything."""

    width: int
    """Numbers of its vector."""
    profile: Profile


def check_backbone(backbone: Backbone, signature: Signature) -> Signature:
    """What the vectors are, as a table of numbers.

    Raises `ValueError` where such rows cannot be taken, or where the weights are of another architecture.
    """
    if signature.kind == "table":
        raise ValueError(f"features is for images, and these are {signature}; leave it out")
    width = trial(backbone, signature.shape).width
    if isinstance(backbone.weights, Path):
        prepare(backbone, signature.shape)
    return vectors(width)


def vectors(width: int) -> TableSignature:
    """Vectors as a table of numbers."""
    return TableSignature(tuple(Column(f"feature {i}", "numeric") for i in range(width)))


def trial(backbone: Backbone, shape: tuple[int, int, int]) -> Trial:
    """Raises `ValueError`, with a size that would do, where images of `shape` (H, W, C) are too small."""
    seen = _shape(backbone, shape)
    try:
        return _trial(backbone.arch, seen)
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
    for size in (size for size in _SIZES if size > min(seen[:2])):
        try:
            _trial(backbone.arch, (size, size, seen[2]))
        except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError):
            continue
        raise ValueError(
            f"features: {backbone.arch} does not take images of {seen[0]}x{seen[1]} ({reason}); "
            f"it takes {size}x{size}, so write size: {size}"
        )
    raise ValueError(f"features: {backbone.arch} does not take images of {seen[0]}x{seen[1]}: {reason}")


def identity_of_backbone(backbone: Backbone, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What decides its vectors for images of `shape`, besides the images, for keys: weights by their content.

    Raises `HubError` where the hub does not give its weights.
    """
    if isinstance(backbone.weights, Path):
        content = _content(backbone.weights, backbone.weights.stat().st_mtime_ns)
    else:
        content = hashlib.sha256(prepare(backbone, shape)).hexdigest()
    named = {"version": VERSION, "arch": backbone.arch, "weights": "sha256:" + content, "size": backbone.size}
    return {**named, "numerics": backbone.numerics(shape).to_json()}


def prepare(backbone: Backbone, shape: tuple[int, int, int], *, weights: Path | None = None) -> bytes:
    """The network's tensors for images of `shape` as safetensors: its last layer left out, its first one adapted.

    `weights` is where its file lies on this machine, if not where the job file says. Raises `ValueError` where they do
    not fit, and `HubError` where the hub does not give them.
    """
    path = weights or (backbone.weights if isinstance(backbone.weights, Path) else None)
    return _prepared(backbone.arch, path, path.stat().st_mtime_ns if path else 0, _shape(backbone, shape))


class Extractor:
    """A frozen network that makes a vector of each image."""

    def __init__(self, backbone: Backbone, shape: tuple[int, int, int], weights: bytes, numerics: Numerics) -> None:
        """For images of `shape` (H, W, C); `weights` as `prepare` gives them. The network is made when it is needed."""
        self.backbone, self.shape, self.weights, self.numerics = backbone, shape, weights, numerics
        self.width = _trial(backbone.arch, _shape(backbone, shape)).width

    @functools.cached_property
    def identity(self) -> str:
        """Hash of all that decides its vectors."""
        b = self.backbone
        told = [
            VERSION,
            b.arch,
            b.size,
            self.numerics.to_json(),
            list(self.shape),
            hashlib.sha256(self.weights).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @torch.inference_mode()
    def __call__(self, images: Images, *, stop: Callable[[], bool] = lambda: False) -> NDArray[np.float32] | None:
        """float32 (n, width); None where `stop`, asked before each batch, says so."""
        network, standardizer = self.ready
        feed = PixelFeed(images, standardize=standardizer, numerics=self.numerics, size=self.backbone.size)
        matrix = np.empty((len(images), self.width), np.float32)
        at = 0
        for batch in feed.batches(self.numerics.batch_size):
            if stop():
                return None
            matrix[at : at + len(batch)] = network(batch).float().cpu().numpy()
            at += len(batch)
        return matrix

    @functools.cached_property
    def ready(self) -> tuple[nn.Module, Standardizer]:
        """The network on its device, and what its pixels are standardized by.

        Raises `ValueError` where the weights do not fit.
        """
        network = _loaded(self.backbone.arch, _shape(self.backbone, self.shape), self.weights)
        last = self.numerics.memory_format == "channels_last"
        memory = torch.channels_last if last else torch.contiguous_format
        network = network.to(device=self.numerics.device, memory_format=memory)  # type: ignore[call-overload]
        return network, _standardizer(network, self.shape[2])


@functools.lru_cache(maxsize=2)
def extractor(backbone: Backbone, shape: tuple[int, int, int], weights: bytes, numerics: Numerics) -> Extractor:
    """One network for all members and tasks of a process that use it."""
    return Extractor(backbone, shape, weights, numerics)


def _shape(backbone: Backbone, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """What the network gets."""
    return (backbone.size, backbone.size, shape[2]) if backbone.size else shape


@functools.lru_cache(maxsize=256)
def _trial(arch: str, shape: tuple[int, int, int]) -> Trial:
    vector = torch.empty(0)

    def pass_one_row() -> nn.Module:
        nonlocal vector
        network = _built(arch, shape)
        vector = network(torch.empty(1, shape[2], *shape[:2]))
        return network

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile = Profile.measure(pass_one_row)
    if vector.ndim != 2 or not vector.shape[1]:
        raise ValueError(f"it gives {tuple(vector.shape)} instead of a vector")
    return Trial(int(vector.shape[1]), profile)


def _built(arch: str, shape: tuple[int, int, int]) -> nn.Module:
    kind = ARCHS.get(arch)
    network: nn.Module = kind.build(kind.Params(kind=arch), shape=shape, n_classes=0, dropout=0.0)
    return network.eval()


def _loaded(arch: str, shape: tuple[int, int, int], weights: bytes) -> nn.Module:
    with torch.device("meta"):
        network = _built(arch, shape)
    if network.state_dict().keys() != {name for name, _ in (*network.named_parameters(), *network.named_buffers())}:
        network = _built(arch, shape)  # some buffers are computed and not saved
    try:
        network.load_state_dict(load_tensors(weights), assign=True)
    except RuntimeError as error:
        raise ValueError(f"the saved weights do not fit {arch}: {error}") from None
    return network.eval().requires_grad_(False)


@functools.lru_cache(maxsize=2)
def _prepared(arch: str, path: Path | None, modified: int, shape: tuple[int, int, int]) -> bytes:
    kind = ARCHS.get(arch)
    params = kind.Params(kind=arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # parts that the weights do not have are the same each time
        if path is None:
            network = from_hub(params, shape=shape, n_classes=0, dropout=0.0)
        else:
            network = kind.pretrained(params, shape=shape, n_classes=0, dropout=0.0, weights=read_weights(path))
    content: bytes = save_tensors({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    return content


@functools.lru_cache(maxsize=16)
def _content(path: Path, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _standardizer(network: nn.Module, channels: int) -> Standardizer:
    """The mean and deviation that the network was trained with; one channel takes their averages."""
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    mean, std = (config.get(name) or default for name, default in (("mean", (0.5,) * 3), ("std", (0.5,) * 3)))
    if len(mean) == channels:
        return Standardizer.of_channels(mean, std)
    if channels == 1:
        return Standardizer.of_channels([float(np.mean(mean))], [float(np.mean(std))])
    # As timm repeats the weights of the first layer.
    return Standardizer.of_channels(*([of[i % len(of)] for i in range(channels)] for of in (mean, std)))
