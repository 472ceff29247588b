"""Find weights files, and read the architecture of timm from the name of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from quorate.registry import ARCHS, did_you_mean

TIMM = "timm/"
SUFFIXES = (".safetensors", ".pth", ".pt")
_HASH = re.compile(r"-[0-9a-f]{8}$")
"""What torch.hub appends to the names of the files that it downloads."""
_BY_FOLDER = ("model", "pytorch_model")
"""Files of the Hugging Face hub: the name of their folder says what they are."""


def arch_of_file(path: Path) -> str:
    """Return `timm/NAME` for a file such as `NAME.safetensors`, `NAME.TAG.safetensors` or `NAME-1a2b3c4d.pth`.

    A `model.safetensors` is named by its folder. Raises `ValueError` if the name is not that of an architecture.
    """
    stem = path.name.removesuffix(path.suffix)
    if stem in _BY_FOLDER:
        stem = path.absolute().parent.name
    name = _HASH.sub("", stem.partition(".")[0])
    known: Sequence[str] = ARCHS.get(f"{TIMM}{name or 'NAME'}").names()
    if name in known:
        return f"{TIMM}{name}"
    raise ValueError(
        f"cannot tell the architecture of {path.name}: timm has no {name!r}{did_you_mean(name, list(known))}; rename "
        "the file to NAME.safetensors or NAME.anything.safetensors with the name of timm's architecture, or name both"
    )


def weights_below(folder: Path) -> list[Path]:
    """Return the weights files in a folder, and the `model.safetensors` in folders in it, sorted by name."""
    own = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()]
    return sorted([*own, *(path for name in _BY_FOLDER for path in folder.glob(f"*/{name}.safetensors"))])
