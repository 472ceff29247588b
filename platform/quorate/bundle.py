"""Everything that is needed to predict, in one folder, with nothing that executes on load."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError

from quorate.data.dataset import Inputs, Pixels
from quorate.data.in_memory import as_inputs
from quorate.data.signature import Signature, signature_from_json
from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.combination import Combination
from quorate.ensemble.conformal import Conformal
from quorate.ensemble.uncertainty import Doubt
from quorate.errors import UserError, naming
from quorate.kinds import COMBINERS
from quorate.members.base import HEADER, Member, Proba, load_member

SCHEMA = 3
MANIFEST = "manifest.json"
LOSSES = "losses.npz"
UNSEEN = "unseen.npz"
"""What the ensemble says of training rows, each by models and a combination that had not seen it."""

_NEEDED = {"class_names", "input", "members", "combination", "quorum", "files"}
"""What loading reads from the manifest."""

log = logging.getLogger(__name__)


class BundleError(UserError):
    """The folder is no bundle, or not the one that its manifest describes."""


class QuorumLost(RuntimeError):
    """Fewer members answer than the ensemble needs to decide."""


@dataclass(frozen=True)
class Prediction:
    """Probabilities (n, K) of the ensemble, those of each member if asked, and who did not answer."""

    proba: NDArray[np.float64]
    members: dict[str, Proba] | None
    lost: tuple[str, ...] = ()
    doubt: Doubt | None = None
    """How sure the members are, if asked."""


class Bundle:
    """An ensemble loaded from its folder."""

    def __init__(
        self,
        manifest: dict[str, Any],
        members: Mapping[str, Sequence[Member]],
        unseen: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.manifest = manifest
        self._members = members
        self._unseen = unseen
        whole = Combination.from_json(manifest["combination"])
        chosen = [i for i, entry in enumerate(manifest["members"]) if entry["folds"]]
        self._combination = whole.of(chosen)

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Verify every file against the manifest, then load; raises `BundleError`."""
        manifest = verified_manifest(folder)
        _check_combiner(folder, manifest["combination"])
        members = {
            entry["name"]: [_load(folder, entry["name"], place) for place in entry["folds"]]
            for entry in manifest["members"]
            if entry["folds"]
        }
        unseen = None
        if UNSEEN in manifest["files"]:
            with np.load(folder / UNSEEN, allow_pickle=False) as arrays:
                unseen = dict(arrays)
        return cls(manifest, members, unseen)

    @property
    def models(self) -> Mapping[str, Sequence[Member]]:
        """The fold models of each member that weighs something, by its name."""
        return self._members

    @property
    def conformal(self) -> Conformal | None:
        """What sets of classes are made from; None for a bundle without it."""
        return None if self._unseen is None else Conformal.from_arrays(self._unseen)

    @property
    def risk_coverage(self) -> RiskCoverage | None:
        """How often the ensemble was wrong, by its confidence, on rows not seen; None for a bundle without it."""
        if self._unseen is None:
            return None
        return RiskCoverage.of_answers(confidence=self._unseen["confidence"], right=self._unseen["right"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.manifest["class_names"])

    @cached_property
    def signature(self) -> Signature:
        """What one row is."""
        return signature_from_json(self.manifest["input"])

    def predict(self, x: Pixels | pd.DataFrame | Inputs, *, members: bool = False, doubt: bool = False) -> Prediction:
        """Probabilities for rows, such as uint8 images (n, H, W, C) or a data frame with the bundle's columns.

        Every member is the average of its folds. Arrays and frames that are not what the bundle takes raise
        `ValueError`. A member that raises is left out and named; below the quorum `QuorumLost` is raised.
        """
        rows = as_inputs(x, self.signature) if isinstance(x, np.ndarray | pd.DataFrame) else x
        assert rows.signature == self.signature, "inputs are checked at the door"
        answers: dict[str, Proba] = {}
        lost = []
        for name, folds in self._members.items():
            try:
                answers[name] = np.mean([fold.predict_proba(rows) for fold in folds], axis=0, dtype=np.float32)
            except Exception:
                log.exception("member %s does not answer", name)
                lost.append(name)
        if len(answers) < self.manifest["quorum"]:
            raise QuorumLost(
                f"{len(answers)} of {len(self._members)} members answer, {self.manifest['quorum']} are needed; "
                f"lost: {', '.join(lost)}"
            )
        present = np.array([name in answers for name in self._members])
        blank = np.zeros((len(rows), len(self.class_names)), np.float32)
        stacked = np.stack([answers.get(name, blank) for name in self._members])
        proba = self._combination.apply(stacked, present)
        doubts = self._combination.doubt(stacked, present) if doubt else None
        return Prediction(proba, answers if members else None, tuple(lost), doubts)


def needs(manifest: Mapping[str, Any]) -> list[str]:
    """What loading a bundle needs beside Quorate, in sentences."""
    said = [
        f"the member {entry['name']} needs the package {entry['requires']} wherever the bundle is loaded: "
        f"{entry['reason']}"
        for entry in manifest["members"]
        if "requires" in entry
    ]
    if package := manifest["combination"].get("requires"):
        said.append(f"the combiner needs the package {package} wherever the bundle is loaded: it pools in its own way")
    return said


def _load(folder: Path, name: str, place: str) -> Member:
    try:
        return load_member(folder / place)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder}: the member {name} cannot be loaded: {error}") from error


def _check_combiner(folder: Path, combination: Mapping[str, Any]) -> None:
    package = combination.get("requires")
    if package is None:
        return
    try:
        COMBINERS.get(combination["kind"])
    except ValueError as error:
        raise BundleError(
            f"{folder}: the combiner {combination['kind']} needs the package {package}; install it, or put its "
            f"folder on PYTHONPATH ({error})"
        ) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle; raises `BundleError` where there is none that this version reads."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise BundleError(
            f"{folder} has schema {found!r}, this version of Quorate reads {SCHEMA}; use the one that wrote it"
        )
    return manifest


def verified_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle whose every file is what the manifest says; raises `BundleError`."""
    manifest = read_manifest(folder)
    if missing := _NEEDED - manifest.keys():
        raise BundleError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}")
    _verify(folder, manifest["files"])
    for place in (place for entry in manifest["members"] for place in entry["folds"]):
        if f"{place}/{HEADER}" not in manifest["files"]:
            raise BundleError(f"{folder}: the manifest names a member without its files: {place}")
    return manifest


def write_bundle(folder: Path, manifest: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a bundle beside its place and move it there whole; `files` by path below the folder."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    whole = json.dumps({"schema": SCHEMA, **manifest, "files": hashes}, indent=1).encode()
    try:
        for name, content in (*files.items(), (MANIFEST, whole)):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                path.write_bytes(content)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _verify(folder: Path, hashes: Mapping[str, str]) -> None:
    root = os.path.realpath(folder)
    for name, expected in hashes.items():
        path = folder / name
        if not os.path.realpath(path).startswith(root + os.sep):
            raise BundleError(f"{folder}: the manifest names a file outside the bundle: {name}")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from None
        if found != expected:
            raise BundleError(f"{path} does not match its SHA-256 in the manifest: it was changed or damaged")
