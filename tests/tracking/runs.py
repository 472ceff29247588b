"""Runs and bundles to track, and the runs that MLflow then holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from numpy.typing import NDArray

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
    """The parts of a bundle that registration reads; nobody predicts with it."""
    folder.mkdir()
    manifest = {
        "class_names": ["no", "yes"],
        "input": {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]},
        "data": {"fingerprint": fingerprint},
        "members": [],
        "job": folder.name,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.savez(folder / "losses.npz", loss=losses)
    return folder
