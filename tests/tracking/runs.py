"""Runs and bundles to track, and the runs that MLflow then holds."""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from numpy.typing import NDArray
from tests.bundle.manifests import a_manifest

from quorate.bundle import MANIFEST
from quorate.tracking.journal import Journal


def begin(notes: Journal, uid: str, parent: str | None = None, **params: object) -> None:
    notes.run(uid, name=f"run {uid}", parent=parent, tags={"member": uid}, params=params, start_ms=1_000)


def runs_by_uid(uri: str, experiment: str = "quorate") -> dict[str, Any]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id], max_results=1000)
    by_uid = {run.data.tags["quorate.uid"]: run for run in runs}
    assert len(by_uid) == len(runs), "a run is there twice"
    return by_uid


def write_bundle(folder: Path, losses: NDArray[np.float64], *, fingerprint: str = "data") -> Path:
    """The parts of a bundle that registration reads; it cannot predict."""
    folder.mkdir()
    data = {"fingerprint": fingerprint, "rows": len(losses)}
    manifest = a_manifest(job=folder.name, class_names=["no", "yes"], data=data, members=[])
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    np.savez(folder / "losses.npz", loss=losses)
    return folder
