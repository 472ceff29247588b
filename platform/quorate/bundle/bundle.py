"""Everything that is needed to predict, in one folder, with nothing that executes on load."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError

from quorate.data.dataset import Inputs, Pixels
from quorate.data.folders import is_debris
from quorate.data.in_memory import as_inputs
from quorate.data.known_values import KnownValues
from quorate.data.signature import Signature, TableSignature, signature_from_json
from quorate.data.table import Table
from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.arrays import Mask
from quorate.ensemble.combination import Combination
from quorate.ensemble.conformal import Conformal
from quorate.ensemble.member_proba import MemberProba, ask_for_rows
from quorate.ensemble.uncertainty import Uncertainty, scattered
from quorate.errors import UserError, naming
from quorate.json_text import json_text
from quorate.members.base import HEADER, Member, Proba, load_member, read_header, references_in
from quorate.registry import COMBINERS, own_code

SCHEMA = 3
MANIFEST = "manifest.json"
LOSSES = "losses.npz"
KNOWN = "columns.json"
"""What the training rows of a table held; bundles of earlier versions lack it."""
UNSEEN = "unseen.npz"
"""What the ensemble says of training rows, each by models and a combination that had not seen it."""

_NEEDED = {"class_names", "input", "members", "combination", "quorum", "files"}
"""What loading reads from the manifest."""

log = logging.getLogger(__name__)


class BundleError(UserError):
    """The folder is no bundle, or not the one that its manifest describes."""


class QuorumLost(RuntimeError):
    """Too few members answer; `row` is the first such row, or None if it affects all rows."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem if row is None else f"row {row + 1}: {problem}")
        self.problem, self.row = problem, row


@dataclass(frozen=True)
class Prediction:
    """Probabilities (n, K) of the ensemble, those of each member if asked, and who did not answer."""

    proba: NDArray[np.float64]
    members: dict[str, Proba] | None
    """Before calibration; NaN in rows that a member did not answer."""
    lost_rows: Mapping[str, Mask] = field(default_factory=dict)
    """Members that did not answer for some rows, with these rows (n,)."""
    unfamiliar: Mapping[str, Mask] = field(default_factory=dict)
    """Columns with values unlike those of the training rows, with these rows (n,)."""
    uncertainty: Uncertainty | None = None
    """How sure the members are, if asked."""

    @property
    def lost(self) -> tuple[str, ...]:
        """Members that did not answer for some rows or for all."""
        return tuple(self.lost_rows)


class Bundle:
    """An ensemble loaded from its folder."""

    def __init__(
        self,
        manifest: dict[str, Any],
        members: Mapping[str, Sequence[Member]],
        unseen: Mapping[str, NDArray[Any]] | None = None,
        known: KnownValues | None = None,
    ) -> None:
        self.manifest = manifest
        self._members = members
        self._unseen = unseen
        self.known = known
        """What the training rows of a table held; None for images, and where the bundle does not say."""
        whole = Combination.from_json(manifest["combination"])
        chosen = [i for i, entry in enumerate(manifest["members"]) if entry["folds"]]
        self._combination = whole.of(chosen)

    @classmethod
    def load(cls, folder: Path, *, allow_code: bool = False) -> Bundle:
        """Verify every file against the manifest, then load; raises `BundleError`.

        A bundle may need a user's own code, `module:name`: it is imported only where the caller trusts the bundle and
        says so with `allow_code`.
        """
        manifest = verified_manifest(folder)
        with nullcontext() if allow_code else own_code.forbid_imports():
            check_code(folder, manifest)
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
        try:
            return cls(manifest, members, unseen, _known(folder, manifest))
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder}: the combination in {MANIFEST} cannot be used: {error!r}") from error

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

    def predict(
        self, x: Pixels | pd.DataFrame | Inputs, *, members: bool = False, uncertainty: bool = False
    ) -> Prediction:
        """Probabilities for rows, such as uint8 images (n, H, W, C) or a data frame with the bundle's columns.

        Every member is the average of its folds. Arrays and frames that are not what the bundle takes, or have no
        rows, raise `ValueError`. A member that raises for some rows, or gives them probabilities that are not finite,
        is left out there and named; below the quorum `QuorumLost` is raised.
        """
        inputs = as_inputs(x, self.signature) if isinstance(x, np.ndarray | pd.DataFrame) else x
        assert inputs.signature == self.signature, "inputs are checked at the door"
        if not len(inputs):
            raise ValueError("there are no rows to predict")
        asked = {name: self._ask(name, folds, inputs) for name, folds in self._members.items()}
        present = np.stack([one.answered for one in asked.values()])
        lost_rows = {name: ~one.answered for name, one in asked.items() if not one.answered.all()}
        self._check_quorum(present, lost_rows)
        stacked = np.stack([one.proba for one in asked.values()])
        each = {name: one.proba for name, one in asked.items() if one.answered.any()} if members else None
        unfamiliar = self.known.unfamiliar(inputs) if self.known is not None and isinstance(inputs, Table) else {}
        proba = np.zeros(stacked.shape[1:])
        uncertainties = None
        for rows in _alike(present):
            some = slice(None) if len(rows) == len(inputs) else rows
            proba[some] = self._combination.apply(stacked[:, some], present[:, rows[0]])
            if uncertainty:
                part = self._combination.uncertainty(stacked[:, some], present[:, rows[0]])
                uncertainties = scattered(uncertainties, part, rows, total=len(inputs))
        return Prediction(proba, each, lost_rows, unfamiliar, uncertainties)

    def calibrated(self, members: Mapping[str, Proba]) -> dict[str, NDArray[np.float64]]:
        """Members' probabilities (n, K), each by its own calibration, as the ensemble reads them; NaN rows stay NaN."""
        found = {}
        for name, calibration in zip(self._members, self._combination.calibrations, strict=True):
            if name in members:
                proba = members[name].astype(np.float64)
                there = np.isfinite(proba).all(axis=1)
                proba[there] = calibration.apply(members[name][there])
                found[name] = proba
        return found

    def _ask(self, name: str, folds: Sequence[Member], inputs: Inputs) -> MemberProba:
        def ask(rows: NDArray[np.int64]) -> Proba:
            some = inputs if len(rows) == len(inputs) else inputs.subset(rows)
            proba: Proba = np.mean([fold.predict_proba(some) for fold in folds], axis=0, dtype=np.float32)
            return proba

        found = ask_for_rows(ask, rows=len(inputs), classes=len(self.class_names))
        silent = int((~found.answered).sum())
        if silent or found.error is not None:
            log.error("member %s does not answer for %d of %d rows", name, silent, len(inputs), exc_info=found.error)
        return found

    def _check_quorum(self, present: Mask, lost_rows: Mapping[str, Mask]) -> None:
        counts = present.sum(axis=0)
        below = counts < self.manifest["quorum"]
        if not below.any():
            return
        row = int(below.argmax())
        lost = [name for name, rows in lost_rows.items() if rows[row]]
        raise QuorumLost(
            f"{counts[row]} of {len(self._members)} members answer, {self.manifest['quorum']} are needed; "
            f"lost: {', '.join(lost)}",
            None if below.all() else row,
        )


def _alike(present: Mask) -> list[NDArray[np.int64]]:
    """The rows (n,) of (M, n) in groups that the same members answer."""
    if present.all():
        return [np.arange(present.shape[1])]
    _, group = np.unique(present, axis=1, return_inverse=True)
    return [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]


def needs(manifest: Mapping[str, Any]) -> list[str]:
    """What loading a bundle needs besides Quorate, in sentences."""
    allow = "; commands that load it need --allow-code"
    said = [
        f"the member {entry['name']} needs the package {entry['requires']} wherever the bundle is loaded: "
        f"{entry['reason']}{allow}"
        for entry in manifest["members"]
        if "requires" in entry
    ]
    if package := manifest["combination"].get("requires"):
        said.append(
            f"the combiner needs the package {package} wherever the bundle is loaded: it pools in its own way{allow}"
        )
    return said


def _load(folder: Path, name: str, place: str) -> Member:
    try:
        return load_member(folder / place)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder}: the member {name} cannot be loaded: {error}") from error


def check_code(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `BundleError` where loading the bundle imports code that is refused (`own_code.forbid_imports`)."""
    kind = _pooling(manifest["combination"])
    wanted = {f"the combiner {kind}": [kind] if ":" in kind else []}
    for entry in manifest["members"]:
        for place in entry["folds"]:
            try:
                references = references_in(read_header(folder / place))
            except (AttributeError, ValueError) as error:
                raise BundleError(f"{folder / place / HEADER} cannot be read: {error}") from None
            wanted.setdefault(f"the member {entry['name']}", []).extend(references)
    for what, references in wanted.items():
        for reference in references:
            try:
                own_code.check_allowed(reference)
            except own_code.OwnCodeError as error:
                raise BundleError(f"{folder}: {what}: {error}") from None


def _pooling(combination: Mapping[str, Any]) -> str:
    """The kind of combiner that pools the members; raises `TypeError` where that is no text."""
    kind = combination.get("pool", combination["kind"])
    if not isinstance(kind, str):
        raise TypeError(f"the combiner is {kind!r}")
    return kind


def _check_combiner(folder: Path, combination: Mapping[str, Any]) -> None:
    kind, package = _pooling(combination), combination.get("requires")
    try:
        COMBINERS.get(kind)
    except ValueError as error:
        if package is None:
            raise BundleError(f"{folder}: {error}") from error
        raise BundleError(
            f"{folder}: the combiner {kind} needs the package {package}; install it, or put its "
            f"folder on PYTHONPATH ({error})"
        ) from error


def _known(folder: Path, manifest: Mapping[str, Any]) -> KnownValues | None:
    if KNOWN not in manifest["files"]:
        return None
    try:
        signature = signature_from_json(manifest["input"])
        assert isinstance(signature, TableSignature), "images have no columns"
        return KnownValues.from_bytes((folder / KNOWN).read_bytes(), signature)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / KNOWN} cannot be read: {error}") from error


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
    try:
        _verify(folder, manifest["files"])
        for place in (place for entry in manifest["members"] for place in entry["folds"]):
            _verify_member(folder, place, manifest["files"])
        _pooling(manifest["combination"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder / MANIFEST} is no manifest of a bundle: {error!r}") from None
    return manifest


def write_bundle(folder: Path, manifest: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a bundle beside its place and move it there whole; `files` by path below the folder."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    whole = json_text({"schema": SCHEMA, **manifest, "files": hashes}).encode()
    try:
        for name, content in (*files.items(), (MANIFEST, whole)):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                path.write_bytes(content)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _verify_member(folder: Path, place: str, hashes: Mapping[str, str]) -> None:
    """Raise `BundleError` where a member's folder lacks its header, or holds a file that the manifest does not name.

    What tools leave in folders, such as `.DS_Store`, is ignored: no member reads it.
    """
    if f"{place}/{HEADER}" not in hashes:
        raise BundleError(f"{folder}: the manifest names a member without its files: {place}")
    for path in sorted((folder / place).rglob("*")):
        name = path.relative_to(folder).as_posix()
        debris = any(map(is_debris, path.relative_to(folder / place).parts))
        if path.is_file() and name not in hashes and not debris:
            raise BundleError(f"{folder}: {name} is not in the manifest, so it is not verified; remove it")


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
