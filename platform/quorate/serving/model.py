"""Define what serving requires of a model: the part of a bundle that answers requests."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import BundleManifest
from quorate.data.signature import Signature

BUNDLE = "quorate.bundle:Bundle.load"
"""The default function that loads a model."""


class ServedPrediction(Protocol):
    """Averaged probabilities (n, K), and those of each member if requested."""

    @property
    def proba(self) -> NDArray[Any]: ...

    @property
    def members(self) -> Mapping[str, NDArray[Any]] | None: ...

    @property
    def lost_rows(self) -> Mapping[str, NDArray[np.bool_]]:
        """Members that did not answer for some rows, with these rows (n,)."""

    @property
    def unfamiliar(self) -> Mapping[str, NDArray[np.bool_]]:
        """Columns with values unlike those of the training rows, with these rows (n,)."""


class Model(Protocol):
    """A loaded bundle: its manifest, and probabilities of uint8 images (n, H, W, C) or of a frame of typed columns."""

    @property
    def manifest(self) -> BundleManifest: ...

    def predict(self, x: NDArray[np.uint8] | pd.DataFrame, *, members: bool = False) -> ServedPrediction: ...

    def calibrated(self, members: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[np.float64]]:
        """Return the calibrated probabilities (n, K) of each member of a prediction."""


@dataclass(frozen=True)
class Scores:
    """The result that the model application sends to the front; rows are in the order of the request."""

    proba: NDArray[np.float64]
    """Probabilities (n, K), in the order of the class names."""
    members: Mapping[str, NDArray[np.float64]]
    """Calibrated probabilities (n, K) of each member; empty unless requested."""
    lost: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Members that did not answer for some rows, with these rows (n,)."""
    unfamiliar: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Columns with values unlike those of the training rows, with these rows (n,)."""

    def rows(self, start: int, stop: int, *, members: bool) -> Scores:
        """Return the part of one request; `members` says whether it includes the members' probabilities."""
        each = {name: proba[start:stop] for name, proba in self.members.items()} if members else {}
        lost = {name: rows[start:stop] for name, rows in self.lost.items() if rows[start:stop].any()}
        unlike = {name: rows[start:stop] for name, rows in self.unfamiliar.items() if rows[start:stop].any()}
        return Scores(self.proba[start:stop], each, lost, unlike)


@dataclass(frozen=True)
class ModelInfo:
    """The facts about a model that the front needs to read requests and write answers."""

    job: str
    version: str
    """First 12 hexadecimal digits of the manifest's SHA-256."""
    class_names: tuple[str, ...]
    signature: Signature
    """The signature of one row."""
    resize: int | None = None
    """Length of the shorter side before the centre crop, for pictures."""
    weightless: tuple[str, ...] = ()
    """Members of weight zero, which the bundle does not contain, so they never answer."""

    @classmethod
    def of(cls, manifest: BundleManifest, version: str) -> ModelInfo:
        return cls(
            job=manifest.job,
            version=version,
            class_names=manifest.class_names,
            signature=manifest.input.signature,
            resize=manifest.input.resize,
            weightless=tuple(member.name for member in manifest.members if not member.folds),
        )


def loader(path: str) -> Callable[..., Model]:
    """Return the function at `package.module:name` that loads a model from a folder; it also takes `allow_code`."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    load: Callable[..., Model] = found
    return load
