"""Packs a finished job, or one network that was made from it, into a bundle."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate import __version__
from quorate.bundle import KNOWN, LOSSES, UNSEEN, write_bundle
from quorate.data.dataset import Dataset, Inputs
from quorate.data.known_values import KnownValues
from quorate.data.table import Table
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.combination import one_member
from quorate.ensemble.conformal import Conformal
from quorate.job.ensemble import JobEnsemble
from quorate.job.production import Production
from quorate.members.base import HEADER
from quorate.plan.tasks import ALL_ROWS, Plan
from quorate.results.results import Results
from quorate.runs.leaderboard import Leaderboard
from quorate.spec import JobSpec

_DATA_KEYS = ("label", "labels", "images", "groups", "missing", "separator", "on_corrupt")
"""Keys of a job's `data` that files of later rows are read by."""
_LIBRARIES = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "safetensors", "skops")


def pack_bundle(
    folder: Path,
    spec: JobSpec,
    plan: Plan,
    production: Production,
    ensemble: JobEnsemble,
    board: Leaderboard,
    results: Results,
) -> Path:
    """Write the bundle of a job to `folder`; raises `Damaged` where the store lost a member meanwhile."""
    assembly, combination = ensemble.assembly, ensemble.combination
    files: dict[str, bytes] = {}
    members = []
    for m, label in enumerate(plan.labels):
        row = board.members[m]
        entry = row.model_dump(include={"name", "kind", "weight", "temperature", "oof", "test"})
        entry["folds"] = []
        for fit in production.fits[label] if combination.weights[m] > 0 else ():
            place = f"members/{label}/{'all' if fit.task.fold == ALL_ROWS else fit.task.fold}"
            entry["folds"].append(place)
            content = results.files(fit)
            files |= {f"{place}/{name}": blob for name, blob in content.items()}
            entry |= _needs(json.loads(content[HEADER]))
        members.append(entry)
    data = plan.context.train
    files[LOSSES] = losses_file(assembly.row_losses, data.groups)
    files[UNSEEN] = unseen_file(assembly.crossfit_proba, assembly.rows, data.y)
    files |= known_file(data.x)
    manifest = {
        **_origin(spec, plan.context.train, run=board.run),
        "members": members,
        "combination": combination.to_json(),
        "quorum": spec.quorum.of(sum(bool(entry["folds"]) for entry in members)),
        "metrics": board.ensemble.model_dump(include={"oof", "test"}),
        "production": production.note or None,
    }
    write_bundle(folder, manifest, files)
    return folder


def member_sizes(production: Production, results: Results) -> dict[str, int]:
    """Bytes of the files of each member that has models, by its label: in the bundle, where it has a weight."""
    return {label: sum(map(results.size, fits)) for label, fits in production.fits.items() if fits}


@dataclass(frozen=True, eq=False)
class SingleNetwork:
    """One network as an ensemble of its own: what a bundle of it says."""

    name: str
    folds: Mapping[int, Mapping[str, bytes]]
    """The files of its models, by the number of the fold."""
    temperature: float
    run: str
    """The name of the run that it comes from, a slash, and its own name."""
    oof: Mapping[str, float]
    """Figures on training rows that neither the network nor its temperature has seen."""
    test: Mapping[str, float] | None
    row_losses: NDArray[np.float64]
    """Of the training rows (N,) behind `oof`, NaN elsewhere."""
    unseen: bytes | None = None
    """What `unseen_file` makes of those rows; without it there are no conformal sets."""


def pack_alone(folder: Path, spec: JobSpec, data: Dataset, alone: SingleNetwork, notes: Mapping[str, bytes]) -> Path:
    """Write the bundle of one network to `folder`, with the additional files `notes`."""
    files = dict(notes) | {LOSSES: losses_file(alone.row_losses, data.groups)} | known_file(data.x)
    if alone.unseen is not None:
        files[UNSEEN] = alone.unseen
    figures: dict[str, Any] = {"oof": alone.oof, "test": alone.test}
    temperature = round(alone.temperature, 6)
    entry: dict[str, Any] = {"name": alone.name, "kind": "net", "weight": 1.0, "temperature": temperature, **figures}
    entry["folds"] = []
    for fold, content in alone.folds.items():
        place = f"members/{alone.name}/{fold}"
        entry["folds"].append(place)
        files |= {f"{place}/{name}": blob for name, blob in content.items()}
        entry |= _needs(json.loads(content[HEADER]))
    manifest = {
        **_origin(spec, data, run=alone.run),
        "members": [entry],
        "combination": one_member(member=0, members=1, calibration=Temperature(alone.temperature)).to_json(),
        "quorum": 1,
        "metrics": figures,
    }
    write_bundle(folder, manifest, files)
    return folder


def _origin(spec: JobSpec, data: Dataset, *, run: str) -> dict[str, Any]:
    """Where a bundle comes from, and what its rows are."""
    return {
        "job": spec.name,
        "run": run,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "class_names": list(data.class_names),
        "input": {**data.signature.to_json(), "resize": _resize(spec)},
        "data": {
            "fingerprint": data.fingerprint,
            "rows": len(data),
            "labels_are": data.labels_are,
            **{key: getattr(spec.data, key, None) for key in _DATA_KEYS},
        },
        "seed": spec.seed,
        "versions": {
            "quorate": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }


def known_file(x: Inputs) -> dict[str, bytes]:
    """The file, by its name, that says what the training rows held; none for images."""
    return {KNOWN: KnownValues.of(x).to_bytes()} if isinstance(x, Table) else {}


def losses_file(row_losses: NDArray[np.float64], groups: NDArray[np.integer] | None = None) -> bytes:
    """The cross-fitted log-loss of every row (N,), NaN where some member lacks it or where it does not count.

    With the `groups` (N,) of the rows, as whoever compares the losses needs them.
    """
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, loss=row_losses, **({} if groups is None else {"groups": groups}))
    return content.getvalue()


def unseen_file(crossfit: NDArray[np.float64], rows: NDArray[np.bool_], y: NDArray[np.int64]) -> bytes:
    """What combinations that had not seen the `rows` (N,) that all members cover say of these, from (N, K)."""
    proba, labels = crossfit[rows], y[rows]
    content = io.BytesIO()
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == labels
    conformal = Conformal.of(proba=proba, y=labels).to_arrays()
    np.savez(content, allow_pickle=False, **conformal, confidence=confidence, right=right)
    return content.getvalue()


def _resize(spec: JobSpec) -> int | None:
    """How photographs were brought to the input's size, for those that come later."""
    resize: int | None = getattr(spec.data, "resize", None)
    return resize


def _needs(header: dict[str, Any]) -> dict[str, str]:
    """The package that a member cannot be loaded without, and why, as its header says."""
    return {key: header[key] for key in ("requires", "reason", "loader") if key in header}
