"""Find the frozen networks that a user names: architectures of timm, weights files, folders of such files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from quorate.errors import UserError
from quorate.members.backbone import Backbone
from quorate.members.weights_names import SUFFIXES, TIMM, arch_of_file, weights_below
from quorate.registry import ARCHS
from quorate.training.hub import weights_of_hub

USUAL = (
    "timm/convnext_tiny.in12k_ft_in1k",
    "timm/efficientnet_b0.ra_in1k",
    "timm/mobilenetv3_large_100.ra_in1k",
    "timm/regnety_016.tv2_in1k",
    "timm/resnet50.a1_in1k",
)
"""Networks of the hub to choose from if the user names none: small ones of different families with weights from
ImageNet. An assumption, not a measurement."""


@dataclass(frozen=True)
class FoundBackbone:
    """A network to choose from, and where its weights are."""

    backbone: Backbone
    where: str
    """The path of a file, the cache of this machine, or the address of the hub."""
    ready: bool = True
    """Whether the weights are on this machine."""


@dataclass(frozen=True)
class FoundBackbones:
    """Networks to choose from, and what was left out, with the reason."""

    networks: tuple[FoundBackbone, ...]
    notes: tuple[str, ...] = ()


def named_backbones(given: Sequence[str], *, size: int | None) -> FoundBackbones:
    """The networks for `NAME`, `timm/NAME`, `FILE` or `NAME=FILE`; raises `UserError` for anything else."""
    return FoundBackbones(tuple(_named(text, size) for text in given))


def backbones_in(folder: Path, *, size: int | None) -> FoundBackbones:
    """The networks whose weights are in a folder; raises `UserError` if there is none."""
    if not folder.is_dir():
        raise UserError(f"--weights {folder}: there is no such folder; give a folder with weights files, or `hub`")
    found, notes = [], []
    for path in weights_below(folder):
        try:
            found.append(FoundBackbone(_backbone(arch_of_file(path), path, size), str(path)))
        except (UserError, ValueError) as error:
            notes.append(str(error))
    if not found:
        why = "; ".join(notes) or f"it has no file that ends with {', '.join(SUFFIXES)}"
        raise UserError(f"--weights {folder}: no weights to start from: {why}")
    return FoundBackbones(tuple(found), tuple(f"left out: {note}" for note in notes))


def backbones_on_hub(names: Sequence[str] = USUAL, *, size: int | None) -> FoundBackbones:
    """The networks of these names with the weights of the hub or of the cache of this machine. Nothing is asked."""
    return FoundBackbones(tuple(_of_hub(name, size) for name in names))


def _named(text: str, size: int | None) -> FoundBackbone:
    name, equals, file = text.partition("=")
    path = Path(file if equals else text)
    if equals or path.suffix in SUFFIXES or path.is_file():
        if not path.is_file():
            raise UserError(f"{path} is not a file; name a weights file, or an architecture of timm")
        try:
            arch = f"{TIMM}{name.removeprefix(TIMM)}" if equals else arch_of_file(path)
        except ValueError as error:
            raise UserError(f"{error}: NAME={path}") from None
        return FoundBackbone(_backbone(arch, path, size), str(path))
    return _of_hub(f"{TIMM}{text.removeprefix(TIMM)}", size)


def _of_hub(arch: str, size: int | None) -> FoundBackbone:
    backbone = _backbone(arch, None, size)
    there = weights_of_hub(ARCHS.get(arch).Params(kind=arch))
    if there is None:
        raise UserError(f"no hub has weights of {arch}; name a weights file: {arch.removeprefix(TIMM)}=FILE")
    if there.cached is not None:
        return FoundBackbone(backbone, f"the cache of this machine, {there.cached}")
    return FoundBackbone(backbone, there.url, ready=False)


def _backbone(arch: str, path: Path | None, size: int | None) -> Backbone:
    try:
        return Backbone(arch=arch, weights=path.absolute() if path is not None else "hub", size=size)
    except ValidationError as error:
        raise UserError(str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")) from None
