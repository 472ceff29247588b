"""The results that a model sends to the front, and the properties of the model that the front requires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import BundleManifest
from quorate.data.signature import Signature


@dataclass(frozen=True)
class Scores:
    """The result that the model application sends to the front; rows are in the order of the request."""

    proba: NDArray[np.float64]
    """Probabilities (n, K), in the order of the class names."""
    members: Mapping[str, NDArray[np.float64]]
    """Calibrated probabilities (n, K) of each member; empty unless requested."""
    lost: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Members that failed to predict some rows, each with a mask (n,) of these rows."""
    unfamiliar: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Columns that have values unlike those in the training rows, each with a mask (n,) of the affected rows."""

    def rows(self, start: int, stop: int, *, members: bool) -> Scores:
        """Return the part of one request; `members` says whether it includes the members' probabilities."""
        each = {name: proba[start:stop] for name, proba in self.members.items()} if members else {}
        lost = {name: rows[start:stop] for name, rows in self.lost.items() if rows[start:stop].any()}
        unlike = {name: rows[start:stop] for name, rows in self.unfamiliar.items() if rows[start:stop].any()}
        return Scores(self.proba[start:stop], each, lost, unlike)


@dataclass(frozen=True)
class ModelInfo:
    """The properties of a model that the front requires to read requests and write responses."""

    job: str
    version: str
    """First 12 hexadecimal digits of the manifest's SHA-256."""
    class_names: tuple[str, ...]
    signature: Signature
    """The signature of one row."""
    resize: int | None = None
    """Length of the shorter side before the centre crop, for pictures."""
    weightless: tuple[str, ...] = ()
    """Members with weight 0, which the bundle does not contain, so they have no predictions."""

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
