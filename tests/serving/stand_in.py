"""A small real classifier that keeps the promise of `quorate.serving.model.Model`: softmax over the mean
brightness of the quarters of a picture. Its manifest tells the process that answers and how often it did."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.bundle.manifests import a_manifest, saved_member

from quorate.bundle import MANIFEST, BundleManifest, BundleMetrics, QuorumLost, read_manifest

CLASSES = ["upper left", "upper right", "lower left", "lower right"]
SHAPE = (8, 6, 1)
SHARPNESS = {"sharp": 0.1, "soft": 0.02}
LOAD = "tests.serving.stand_in:load"


@dataclass(frozen=True)
class StandInPrediction:
    proba: NDArray[np.float32]
    members: dict[str, NDArray[np.float32]] | None
    lost_rows: dict[str, NDArray[np.bool_]]
    unfamiliar: dict[str, NDArray[np.bool_]]


class StandIn:
    def __init__(self, manifest: BundleManifest) -> None:
        self._manifest = manifest
        self._calls = 0

    @property
    def manifest(self) -> BundleManifest:
        metrics = BundleMetrics(oof={"pid": os.getpid(), "calls": self._calls}, test=None)
        return self._manifest.model_copy(update={"metrics": metrics})

    def predict(self, x: NDArray[np.uint8], *, members: bool = False) -> StandInPrediction:
        """An all-white row loses the quorum, as a way to ask for it."""
        self._calls += 1
        if (x == 255).all(axis=(1, 2, 3)).any():
            raise QuorumLost("1 of 2 members answered, the quorum is 2")
        step = -1 if list(self._manifest.class_names) == CLASSES[::-1] else 1
        each = {name: proba(x, sharpness)[:, ::step] for name, sharpness in SHARPNESS.items()}
        mean = np.mean(list(each.values()), axis=0).astype(np.float32)
        return StandInPrediction(mean, each if members else None, {}, {})

    def calibrated(self, members: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        return {name: proba.astype("float64") for name, proba in members.items()}


def proba(x: NDArray[np.uint8], sharpness: float) -> NDArray[np.float32]:
    """(n, 4) from uint8 (n, 8, 6, 1)."""
    quarters = x.reshape(-1, 2, 4, 2, 3).astype(np.float64).mean(axis=(2, 4)).reshape(-1, 4)
    powers = np.exp(sharpness * (quarters - quarters.max(axis=1, keepdims=True)))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def load(folder: Path, *, allow_code: bool = False) -> StandIn:
    if (folder / "broken").exists():
        raise ValueError("the weights are damaged")
    return StandIn(read_manifest(folder))


def write(folder: Path, *, job: str = "quarters", reverse: bool = False) -> Path:
    """A folder that `load` reads; with `reverse` a model that says the same with its classes in reverse order."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = a_manifest(
        job=job,
        class_names=CLASSES[::-1] if reverse else CLASSES,
        input={"kind": "image", "dtype": "uint8", "shape": list(SHAPE), "resize": None},
        members=[saved_member(name, 0.5, [f"members/{name}/0"]) for name in SHARPNESS],
        quorum=2,
    )
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return folder
