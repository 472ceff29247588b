"""Frozen networks of timm as feature extractors: their parameters, checks, weights and feature vectors."""

from __future__ import annotations

import functools
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from quorate.data.dataset import Images
from quorate.data.signature import Column, Signature, TableSignature
from quorate.data.standardize import Standardizer
from quorate.members.base import PROCESS_MEMORY
from quorate.members.net_params import Profile
from quorate.registry import ARCHS, Spec
from quorate.spec import ExistingPath
from quorate.training.context import Device, MemoryUse, Numerics
from quorate.training.feed import PixelFeed
from quorate.training.hub import from_hub
from quorate.training.weights import read_weights

VERSION = 1
"""Part of the keys of feature vectors; increment it when the same images and weights give different vectors."""

_LAYERS = 3
"""Memory of a forward pass relative to its largest layer: shortcuts, workspace and fragmentation. An assumption, not a
measurement; the first task of a network corrects it."""

_FAMILY = "timm/"
_SIZES = (32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
"""Image sides, the usual input sizes of timm's networks, that are tried to suggest one if an image is too small."""


# The default of `batch_size` is an assumption, not a measurement.
class Backbone(Spec):
    """A frozen network of timm whose pooled features members learn from."""

    arch: str
    """The network, as `timm/NAME`; its last layer is left out."""
    weights: Literal["hub"] | ExistingPath = "hub"
    """The weights that timm offers (`hub`), or a .safetensors or .pth file with timm's parameter names."""
    size: int | None = Field(None, ge=4, le=4096)
    """Side to which images are resized before the network; by default they are not resized."""
    mirrored: bool = False
    """Whether the network sees the mirror image of each image, left and right exchanged."""
    batch_size: int = Field(64, ge=1, le=100_000)
    """Number of images per pass."""
    gpus: float = Field(0, ge=0, allow_inf_nan=False)
    """Number of accelerators for the computation; with 0, it runs on one CPU core."""

    @field_validator("arch")
    @classmethod
    def _is_in_timm(cls, arch: str) -> str:
        if not arch.startswith(_FAMILY) or arch == _FAMILY:
            raise ValueError(f"features requires a network of timm, but {arch!r} is not one; write timm/NAME")
        ARCHS.get(arch).Params(kind=arch)
        return arch

    @field_validator("weights")
    @classmethod
    def _is_a_file(cls, weights: str | Path) -> str | Path:
        if isinstance(weights, Path) and not weights.is_file():
            raise ValueError(f"{weights} is not a file")
        return weights

    @property
    def trained_side(self) -> int | None:
        """The side in pixels of the images that timm's weights were trained on; None if that is not known."""
        kind = ARCHS.get(self.arch)
        side: int | None = kind.trained_side(kind.Params(kind=self.arch))
        return side

    def numerics(self, shape: tuple[int, int, int]) -> Numerics:
        """The settings that, besides weights and images, determine the exact vectors for images of `shape` (H, W,
        C)."""
        device: Device = "cuda" if self.gpus else "cpu"
        convolutional = ARCHS.get(self.arch).convolutional
        memory_format = trial(self, shape).profile.memory_format(convolutional=convolutional, device=device)
        return Numerics(memory_format=memory_format, device=device, batch_size=self.batch_size)


@dataclass(frozen=True)
class Trial:
    """The properties of a network for images of one shape, found on the device `meta`, without computing anything."""

    width: int
    """Number of values in the vector of an image."""
    profile: Profile
    weights: int
    """Bytes of its tensors."""
    layer: int
    """Bytes of the largest input of a layer together with its output, for one image in float32."""


def backbone_memory(backbone: Backbone, shape: tuple[int, int, int], numerics: Numerics) -> MemoryUse:
    """Estimate the memory of a task that computes features of images of `shape` (H, W, C)."""
    seen = trial(backbone, shape)
    image = int(np.prod(shape)) + 4 * int(np.prod(_shape(backbone, shape)))  # as bytes, and resized as float32
    batch = numerics.batch_size * (_LAYERS * seen.layer + image)
    if numerics.device == "cuda":
        return MemoryUse(PROCESS_MEMORY + seen.weights, seen.weights + batch)
    return MemoryUse(PROCESS_MEMORY + 2 * seen.weights + batch)  # as they arrive, and in the network


def image_seconds(backbone: Backbone, shape: tuple[int, int, int]) -> float:
    """Estimate the seconds of one core for the features of an image of `shape` (H, W, C)."""
    # 20 Gflop/s on one core, plus 0.2 ms per image, as for networks that are trained.
    return trial(backbone, shape).profile.flops / 20e9 + 2e-4


def check_backbone(backbone: Backbone, signature: Signature) -> Signature:
    """Return the signature of the vectors, as a table of numbers.

    Raises `ValueError` if the backbone cannot take such rows, or if the weights belong to another architecture.
    """
    if signature.kind == "table":
        raise ValueError(f"features works only with images, but the data are {signature}; remove it")
    width = trial(backbone, signature.shape).width
    if isinstance(backbone.weights, Path):
        prepare(backbone, signature.shape)
    return vectors(width)


def check_backbones(backbones: Sequence[Backbone], signature: Signature) -> Signature:
    """Return the signature of the joined vectors, or `signature` if there are no backbones; see `check_backbone`."""
    if not backbones:
        return signature
    return vectors(sum(check_backbone(backbone, signature).size for backbone in backbones))


def vectors(width: int) -> TableSignature:
    """Return the signature of vectors as a table of numbers."""
    return TableSignature(tuple(Column(f"feature {i}", "numeric") for i in range(width)))


def trial(backbone: Backbone, shape: tuple[int, int, int]) -> Trial:
    """Return the properties of the network; raises `ValueError`, with a suitable size, if images of `shape` (H, W, C)
    are too small."""
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
            f"it takes {size}x{size}, so set size: {size}"
        )
    raise ValueError(f"features: {backbone.arch} does not take images of {seen[0]}x{seen[1]}: {reason}")


def identity_of_backbone(backbone: Backbone, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return everything besides the images that determines the vectors for images of `shape`; weights by their content.
    Keys are made from it.

    Raises `HubError` if the hub cannot provide its weights.
    """
    if isinstance(backbone.weights, Path):
        content = _content(backbone.weights, backbone.weights.stat().st_mtime_ns)
    else:
        content = hashlib.sha256(prepare(backbone, shape)).hexdigest()
    named = {"version": VERSION, "arch": backbone.arch, "weights": "sha256:" + content, "size": backbone.size}
    mirrored = {"mirrored": True} if backbone.mirrored else {}  # without it, keys are those of earlier results
    return {**named, **mirrored, "numerics": backbone.numerics(shape).to_json()}


def prepare(backbone: Backbone, shape: tuple[int, int, int], *, weights: Path | None = None) -> bytes:
    """Return the network's tensors as safetensors, without the last layer, and with the first layer adapted to images
    of `shape`.

    `weights` is the path of the weights file on this machine, if it differs from the path in the job file. Raises
    `ValueError` if the weights do not fit, and `HubError` if the hub cannot provide them.
    """
    path = weights or (backbone.weights if isinstance(backbone.weights, Path) else None)
    return _prepared(backbone.arch, path, path.stat().st_mtime_ns if path else 0, _shape(backbone, shape))


class Extractor:
    """A frozen network that computes a vector for each image."""

    def __init__(self, backbone: Backbone, shape: tuple[int, int, int], weights: bytes, numerics: Numerics) -> None:
        """For images of `shape` (H, W, C); `weights` are the result of `prepare`. The network is built on first use."""
        self.backbone, self.shape, self.weights, self.numerics = backbone, shape, weights, numerics
        self.width = _trial(backbone.arch, _shape(backbone, shape)).width

    @functools.cached_property
    def identity(self) -> str:
        """Hash of everything that determines its vectors."""
        b = self.backbone
        told = [
            VERSION,
            b.arch,
            b.size,
            self.numerics.to_json(),
            list(self.shape),
            hashlib.sha256(self.weights).hexdigest(),
            *(["mirrored"] if b.mirrored else []),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @torch.inference_mode()
    def __call__(self, images: Images, *, stop: Callable[[], bool] = lambda: False) -> NDArray[np.float32] | None:
        """Return float32 (n, width); None if `stop`, called before each batch, returns true."""
        network, standardizer = self.ready
        feed = PixelFeed(images, standardize=standardizer, numerics=self.numerics, size=self.backbone.size)
        matrix = np.empty((len(images), self.width), np.float32)
        at = 0
        for batch in feed.batches(self.numerics.batch_size):
            if stop():
                return None
            seen = batch.flip(-1) if self.backbone.mirrored else batch
            matrix[at : at + len(batch)] = network(seen).float().cpu().numpy()
            at += len(batch)
        return matrix

    def core_seconds(self, images: Images) -> float:
        """Measure the processor time for one of `images` on one core, as in a job."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            begun = time.process_time()
            self(images)
            return (time.process_time() - begun) / len(images)
        finally:
            torch.set_num_threads(threads)

    @functools.cached_property
    def ready(self) -> tuple[nn.Module, Standardizer]:
        """The network on its device, and the standardizer of its pixels.

        Raises `ValueError` if the weights do not fit.
        """
        network = _loaded(self.backbone.arch, _shape(self.backbone, self.shape), self.weights)
        last = self.numerics.memory_format == "channels_last"
        memory = torch.channels_last if last else torch.contiguous_format
        network = network.to(device=self.numerics.device, memory_format=memory)  # type: ignore[call-overload]
        return network, _standardizer(network, self.shape[2])


@functools.lru_cache(maxsize=16)
def extractor(backbone: Backbone, shape: tuple[int, int, int], weights: bytes, numerics: Numerics) -> Extractor:
    """Return one shared network for all members and tasks of a process that use it."""
    return Extractor(backbone, shape, weights, numerics)


def _shape(backbone: Backbone, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of the network's input."""
    return (backbone.size, backbone.size, shape[2]) if backbone.size else shape


@functools.lru_cache(maxsize=256)
def _trial(arch: str, shape: tuple[int, int, int]) -> Trial:
    vector, weights, layer = torch.empty(0), 0, 0

    def note(module: nn.Module, given: object, result: object) -> None:
        nonlocal layer
        tensors = [one for one in (*(given if isinstance(given, tuple) else ()), result) if torch.is_tensor(one)]
        layer = max(layer, sum(tensor.nbytes for tensor in tensors))

    def pass_one_row() -> nn.Module:
        nonlocal vector, weights
        network = _built(arch, shape)
        weights = sum(tensor.nbytes for tensor in network.state_dict().values())
        hooks = [module.register_forward_hook(note) for module in network.modules()]
        vector = network(torch.empty(1, shape[2], *shape[:2]))
        for hook in hooks:
            hook.remove()
        return network

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile = Profile.measure(pass_one_row)
    if vector.ndim != 2 or not vector.shape[1]:
        raise ValueError(f"its output has the shape {tuple(vector.shape)} instead of (1, D)")
    return Trial(int(vector.shape[1]), profile, weights, layer)


def _built(arch: str, shape: tuple[int, int, int]) -> nn.Module:
    kind = ARCHS.get(arch)
    network: nn.Module = kind.build(kind.Params(kind=arch), shape=shape, n_classes=0, dropout=0.0)
    return network.eval()


def _loaded(arch: str, shape: tuple[int, int, int], weights: bytes) -> nn.Module:
    with torch.device("meta"):
        network = _built(arch, shape)
    if network.state_dict().keys() != {name for name, _ in (*network.named_parameters(), *network.named_buffers())}:
        network = _built(arch, shape)  # some buffers are computed by the constructor and are not saved
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
        torch.manual_seed(0)  # parts without pretrained weights get the same random weights each time
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
    """Use the mean and standard deviation that the network was trained with; for one channel, their averages over the
    channels."""
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    mean, std = (config.get(name) or default for name, default in (("mean", (0.5,) * 3), ("std", (0.5,) * 3)))
    if len(mean) == channels:
        return Standardizer.of_channels(mean, std)
    if channels == 1:
        return Standardizer.of_channels([float(np.mean(mean))], [float(np.mean(std))])
    # timm repeats the weights of the first layer in the same order.
    return Standardizer.of_channels(*([of[i % len(of)] for i in range(channels)] for of in (mean, std)))
