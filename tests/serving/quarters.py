"""A bundle of two members of a user's own kind: softmax over the mean brightness of the quarters of an image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tests.bundle.manifests import a_manifest, saved_member

from quorate.bundle import hashes_of, write_bundle
from quorate.data.dataset import Dataset, Images
from quorate.data.signature import ImageSignature
from quorate.members.base import files_of
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import TaskContext

CLASSES = ["upper left", "upper right", "lower left", "lower right"]
SHAPE = (8, 6, 1)
SHARPNESS = {"sharp": 0.1, "soft": 0.02}
KIND = "tests.serving.quarters:Quarters"
VISITS = "visits.txt"
"""File next to a bundle with the process number of each call of its first member, one in a line."""


class Quarters:
    """One member; with `white_fails` it fails on an image that is completely white."""

    class Params(MemberParams):
        sharpness: float = 0.1
        reverse: bool = False
        """Whether the classes are in reverse order."""
        white_fails: bool = False
        broken: bool = False
        """Whether loading fails."""
        visits: str = ""
        """File to which each call appends its process number; empty for none."""

    def __init__(self, params: Params, *, signature: Any, n_classes: int) -> None:
        self.params = params
        self.history: list[dict[str, float]] = []

    def fit(self, train: Dataset, valid: Dataset, run: TaskContext) -> Self:
        return self

    def predict_proba(self, x: Images) -> NDArray[np.float32]:
        pixels = x.take(np.arange(len(x)))
        if self.params.visits:
            with Path(self.params.visits).open("a") as file:
                file.write(f"{os.getpid()}\n")
        if self.params.white_fails and (pixels == 255).all(axis=(1, 2, 3)).any():
            raise ValueError("an image is all white")
        return proba(pixels, self.params.sharpness)[:, :: -1 if self.params.reverse else 1]

    def save(self, folder: Path) -> None:
        (folder / "params.json").write_text(self.params.model_dump_json())

    @classmethod
    def load(cls, folder: Path) -> Self:
        params = cls.Params.model_validate(json.loads((folder / "params.json").read_text()))
        if params.broken:
            raise ValueError("the weights are damaged")
        return cls(params, signature=None, n_classes=len(CLASSES))


def proba(x: NDArray[np.uint8], sharpness: float) -> NDArray[np.float32]:
    """(n, 4) from uint8 (n, 8, 6, 1)."""
    quarters = x.reshape(-1, 2, 4, 2, 3).astype(np.float64).mean(axis=(2, 4)).reshape(-1, 4)
    powers = np.exp(sharpness * (quarters - quarters.max(axis=1, keepdims=True)))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def write(folder: Path, *, job: str = "quarters", reverse: bool = False, broken: bool = False) -> Path:
    """Write the bundle to `folder`; with `reverse`, the same ensemble with its classes in reverse order."""
    kind, files = MEMBERS.get(KIND), {}
    for name, sharpness in SHARPNESS.items():
        first = name == "sharp"
        params = Quarters.Params(
            kind=KIND,
            sharpness=sharpness,
            reverse=reverse,
            white_fails=first,
            broken=broken,
            visits=str(folder.with_name(VISITS).absolute()) if first else "",
        )
        member = kind(params, signature=ImageSignature(shape=SHAPE), n_classes=len(CLASSES))
        files |= {f"members/{name}/0/{path}": content for path, content in files_of(member).items()}
    none = {"kind": "temperature", "temperature": 1.0}
    manifest = a_manifest(
        job=job,
        class_names=CLASSES[::-1] if reverse else CLASSES,
        input={"kind": "image", "dtype": "uint8", "shape": list(SHAPE), "resize": None},
        members=[saved_member(name, 0.5, [f"members/{name}/0"], requires="tests") for name in SHARPNESS],
        combination={"kind": "mean", "weights": [0.5, 0.5], "calibrations": [none, none], "calibration": none},
        quorum=2,
        files=hashes_of(files),
    )
    write_bundle(folder, manifest, files)
    return folder


def visits(folder: Path) -> list[int]:
    """The process numbers of all calls of the first member of the bundle in `folder`."""
    return [int(line) for line in folder.with_name(VISITS).read_text().split()]
