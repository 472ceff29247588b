"""Write the bundle of a finished job, or of a single network that was made from its ensemble."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate import __version__
from quorate.bundle import (
    KNOWN,
    LOSSES,
    UNSEEN,
    BundleCombination,
    BundleData,
    BundleFile,
    BundleInput,
    BundleManifest,
    BundleMember,
    BundleMetrics,
    hashes_of,
    write_bundle,
)
from quorate.data.dataset import Dataset, Inputs
from quorate.data.file_settings import FileSettings
from quorate.data.known_values import KnownValues
from quorate.data.table import Table
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.combination import single_member
from quorate.ensemble.conformal import Conformal
from quorate.job.ensemble import JobEnsemble
from quorate.job.production import Production
from quorate.members.base import HEADER
from quorate.plan.tasks import ALL_ROWS, Plan
from quorate.results.results import Results
from quorate.runs.leaderboard import Leaderboard
from quorate.spec import JobSpec

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
    """Write the bundle of a job to `folder`; raises `Damaged` if the store has lost a member in the meantime.

    The files of the members are copied from the store.
    """
    assembly, combination = ensemble.assembly, ensemble.combination
    files: dict[str, BundleFile] = {}
    members = []
    for m, label in enumerate(plan.labels):
        row = board.members[m]
        models: dict[str, Mapping[str, BundleFile]] = {}
        headers = []
        for fit in production.fits[label] if combination.weights[m] > 0 else ():
            models[f"members/{label}/{'all' if fit.task.fold == ALL_ROWS else fit.task.fold}"] = results.sources(fit)
            headers.append(results.read(fit, HEADER))
        shown = row.model_dump(include={"name", "kind", "weight", "temperature", "oof", "test"})
        members.append(BundleMember(**shown, folds=tuple(models), **_needs(headers)))
        files |= _files_of(models)
    data = plan.context.train
    files[LOSSES] = losses_file(assembly.row_losses, data.groups)
    files[UNSEEN] = unseen_file(assembly.crossfit_proba, assembly.rows, data.y)
    files |= known_file(data.x)
    manifest = BundleManifest(
        **_origin(spec, plan.context.train, run=board.run),
        members=tuple(members),
        combination=BundleCombination.of(combination),
        quorum=spec.quorum.of(sum(bool(member.folds) for member in members)),
        metrics=BundleMetrics.model_validate(board.ensemble.model_dump(include={"oof", "test"})),
        production=production.note or None,
        files=hashes_of(files),
    )
    write_bundle(folder, manifest, files)
    return folder


def member_sizes(production: Production, results: Results) -> dict[str, int]:
    """Return the size in bytes of each member's files, by label; members without finished models are left out."""
    return {label: sum(map(results.size, fits)) for label, fits in production.fits.items() if fits}


@dataclass(frozen=True, eq=False)
class SingleNetwork:
    """A single network, as an ensemble of one member, with the content of its bundle."""

    name: str
    folds: Mapping[int, Mapping[str, bytes]]
    """The files of its models, by fold number."""
    temperature: float
    run: str
    """`RUN/NAME`: the run that the network was made from, and the name of the network."""
    oof: Mapping[str, float]
    """Metrics on training rows that neither the network nor its temperature was fitted on."""
    test: Mapping[str, float] | None
    """Metrics on the test rows; None without test rows."""
    row_losses: NDArray[np.float64]
    """Log-losses (N,) of the training rows that the metrics `oof` are computed on; NaN for all other rows."""
    unseen: bytes | None = None
    """The result of `unseen_file` for these rows; without it there are no conformal sets."""


def pack_alone(folder: Path, spec: JobSpec, data: Dataset, alone: SingleNetwork, notes: Mapping[str, bytes]) -> Path:
    """Write the bundle of one network to `folder`, with the additional files `notes`."""
    files: dict[str, BundleFile] = {**notes, LOSSES: losses_file(alone.row_losses, data.groups), **known_file(data.x)}
    if alone.unseen is not None:
        files[UNSEEN] = alone.unseen
    models = {f"members/{alone.name}/{fold}": content for fold, content in alone.folds.items()}
    files |= _files_of(models)
    member = BundleMember(
        name=alone.name,
        kind="net",
        weight=1.0,
        temperature=round(alone.temperature, 6),
        oof=alone.oof,
        test=alone.test,
        folds=tuple(models),
        **_needs([content[HEADER] for content in alone.folds.values()]),
    )
    combination = single_member(member=0, members=1, calibration=Temperature(alone.temperature))
    manifest = BundleManifest(
        **_origin(spec, data, run=alone.run),
        members=(member,),
        combination=BundleCombination.of(combination),
        quorum=1,
        metrics=BundleMetrics(oof=alone.oof, test=alone.test),
        files=hashes_of(files),
    )
    write_bundle(folder, manifest, files)
    return folder


def _origin(spec: JobSpec, data: Dataset, *, run: str) -> dict[str, Any]:
    """Return the fields of a manifest that describe the origin of the bundle and its input rows."""
    settings: FileSettings = spec.data.file_settings()
    return {
        "job": spec.name,
        "run": run,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "class_names": data.class_names,
        "input": BundleInput(signature=data.signature, resize=settings.resize),
        "data": BundleData(
            fingerprint=data.fingerprint, rows=len(data), labels_are=data.labels_are, **asdict(settings)
        ),
        "seed": spec.seed,
        "versions": {
            "quorate": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }


def known_file(x: Inputs) -> dict[str, bytes]:
    """Return the file that describes the values of the training rows, by file name; empty for images."""
    return {KNOWN: KnownValues.of(x).to_bytes()} if isinstance(x, Table) else {}


def losses_file(row_losses: NDArray[np.float64], groups: NDArray[np.integer] | None = None) -> bytes:
    """Return the file with the cross-fitted log-loss of each row (N,), and the `groups` (N,) of the rows if they have
    groups.

    A loss is NaN if a member does not cover the row, or if the row does not count. The groups are for comparisons of
    losses.
    """
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, loss=row_losses, **({} if groups is None else {"groups": groups}))
    return content.getvalue()


def unseen_file(crossfit: NDArray[np.float64], rows: NDArray[np.bool_], y: NDArray[np.int64]) -> bytes:
    """Return the file with statistics of the `rows` (N,) that all members cover.

    `crossfit` (N, K) are cross-fitted predictions: each row's combination was fitted without this row.
    """
    proba, labels = crossfit[rows], y[rows]
    content = io.BytesIO()
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == labels
    conformal = Conformal.of(proba=proba, y=labels).to_arrays()
    np.savez(content, allow_pickle=False, **conformal, confidence=confidence, right=right)
    return content.getvalue()


def _files_of(models: Mapping[str, Mapping[str, BundleFile]]) -> dict[str, BundleFile]:
    """Return the files of the models by path; `models` maps each model's folder to its files."""
    return {f"{place}/{name}": file for place, files in models.items() for name, file in files.items()}


def _needs(headers: Iterable[bytes]) -> dict[str, str]:
    """Return the package that a member's models require, the reason, and the loader, from the models' headers."""
    found: dict[str, str] = {}
    for content in headers:
        header = json.loads(content)
        found |= {key: header[key] for key in ("requires", "reason", "loader") if key in header}
    return found
