"""Load the ensemble of a bundle and predict with it; loading executes no code from the folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError

from quorate.bundle.folder import KNOWN, UNSEEN, verified_manifest
from quorate.bundle.manifest import MANIFEST, BundleError, BundleManifest
from quorate.bundle.prediction import Prediction, QuorumLost
from quorate.bundle.requirements import check_code, check_combiner
from quorate.data.dataset import Inputs, Pixels
from quorate.data.in_memory import as_inputs
from quorate.data.known_values import KnownValues
from quorate.data.signature import Signature, TableSignature
from quorate.data.table import Table
from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.arrays import Mask
from quorate.ensemble.conformal import Conformal
from quorate.ensemble.member_proba import MemberProba, ask_for_rows
from quorate.ensemble.uncertainty import scattered
from quorate.members.base import Member, Proba, load_member
from quorate.registry import own_code
from quorate.training.context import Device
from quorate.training.device import DeviceChoice, device_of

log = logging.getLogger(__name__)


class Bundle:
    """An ensemble loaded from its folder."""

    def __init__(
        self,
        manifest: BundleManifest,
        members: Mapping[str, Sequence[Member]],
        unseen: Mapping[str, NDArray[Any]] | None = None,
        known: KnownValues | None = None,
    ) -> None:
        self.manifest = manifest
        self._members = members
        self._unseen = unseen
        self.known = known
        """The values in each column of the training rows; None for images, and for bundles of earlier versions."""
        chosen = [i for i, member in enumerate(manifest.members) if member.folds]
        self._combination = manifest.combination.combination().of(chosen)

    @classmethod
    def load(cls, folder: Path, *, allow_code: bool = False, device: DeviceChoice = "auto") -> Bundle:
        """Verify every file against the manifest, then load onto the device; raises `BundleError`.

        Raises `UserError` if the device is `cuda` and this machine has no accelerator.

        A bundle may need a user's own code, `module:name`. It is imported only with `allow_code`; use this only for
        bundles that you trust.
        """
        manifest, chosen = verified_manifest(folder), device_of(device)
        with nullcontext() if allow_code else own_code.forbid_imports():
            check_code(folder, manifest)
            check_combiner(folder, manifest.combination)
            members = {
                member.name: [_load(folder, member.name, place, chosen) for place in member.folds]
                for member in manifest.packed
            }
        unseen = None
        if UNSEEN in manifest.files:
            with np.load(folder / UNSEEN, allow_pickle=False) as arrays:
                unseen = dict(arrays)
        try:
            return cls(manifest, members, unseen, _known(folder, manifest))
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder}: the combination in {MANIFEST} cannot be used: {error!r}") from error

    @property
    def models(self) -> Mapping[str, Sequence[Member]]:
        """The fold models of each member with a weight above 0, by member name."""
        return self._members

    @property
    def conformal(self) -> Conformal | None:
        """Statistics for conformal sets of classes; None for a bundle without them."""
        return None if self._unseen is None else Conformal.from_arrays(self._unseen)

    @property
    def risk_coverage(self) -> RiskCoverage | None:
        """The error rate by confidence, on out-of-fold rows; None for a bundle without it."""
        if self._unseen is None:
            return None
        return RiskCoverage.of_answers(confidence=self._unseen["confidence"], right=self._unseen["right"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.class_names

    @property
    def signature(self) -> Signature:
        """The signature of one row."""
        return self.manifest.input.signature

    def predict(
        self, x: Pixels | pd.DataFrame | Inputs, *, members: bool = False, uncertainty: bool = False
    ) -> Prediction:
        """Return probabilities for rows, such as uint8 images (n, H, W, C) or a data frame with the bundle's columns.

        Each member is the average of its fold models. A member that raises an error for some rows, or returns
        probabilities that are not finite, is left out for these rows and reported in the result. Raises `ValueError`
        for rows that do not match the bundle's signature or if there are none, and `QuorumLost` if fewer members than
        the quorum predict a row.
        """
        inputs = as_inputs(x, self.signature) if isinstance(x, np.ndarray | pd.DataFrame) else x
        assert inputs.signature == self.signature, "the caller has checked the signature of the inputs"
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
        """Calibrate the probabilities (n, K) of each member, as the ensemble does before pooling; NaN rows stay NaN."""
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
            log.error("member %s failed on %d of %d rows", name, silent, len(inputs), exc_info=found.error)
        return found

    def _check_quorum(self, present: Mask, lost_rows: Mapping[str, Mask]) -> None:
        counts = present.sum(axis=0)
        below = counts < self.manifest.quorum
        if not below.any():
            return
        row = int(below.argmax())
        lost = [name for name, rows in lost_rows.items() if rows[row]]
        raise QuorumLost(
            f"only {counts[row]} of {len(self._members)} members can predict, but the quorum is "
            f"{self.manifest.quorum}; members that failed: {', '.join(lost)}",
            None if below.all() else row,
        )


def _alike(present: Mask) -> list[NDArray[np.int64]]:
    """Group the rows of the mask (M, n) by the members that predict them."""
    if present.all():
        return [np.arange(present.shape[1])]
    _, group = np.unique(present, axis=1, return_inverse=True)
    return [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]


def _load(folder: Path, name: str, place: str, device: Device) -> Member:
    try:
        return load_member(folder / place, device=device)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder}: the member {name} cannot be loaded: {error}") from error


def _known(folder: Path, manifest: BundleManifest) -> KnownValues | None:
    if KNOWN not in manifest.files:
        return None
    try:
        signature = manifest.input.signature
        assert isinstance(signature, TableSignature), "images have no columns"
        return KnownValues.from_bytes((folder / KNOWN).read_bytes(), signature)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / KNOWN} cannot be read: {error}") from error
