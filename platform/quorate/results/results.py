"""Finished fit tasks in the store: kept, found again, verified, reused by every job that shares the store."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace

import numpy as np

from quorate.data.features import Matrix
from quorate.execution.events import Checkpointed, Featured, Fitted, Predicted
from quorate.members.base import Proba
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask
from quorate.store import Damaged, Manifest, Store


@dataclass(frozen=True)
class Fit:
    """A finished fit task: what it predicts for its validation rows, its curves, and its files' blobs."""

    task: FitTask
    valid: Proba
    history: list[dict[str, float]]
    seconds: float
    files: dict[str, str]
    """SHA-256 of each file of the member's folder."""
    reused: bool
    complete: bool = True
    """False where it was stopped before its time: good for this job's ensemble, and never found again."""
    predict_ms: float | None = None
    """Milliseconds that a row takes to predict, in batches; None where it was not measured."""


class Results:
    """Fit tasks, checkpoints and predictions by key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, task: FitTask) -> Fit | None:
        """What was finished under this key; damaged work is set aside and counts as not done."""
        manifest = self._store.use("fits", task.key)
        if manifest is None:
            return None
        try:
            valid = _array(self._store.get(manifest["valid"]))
            history = json.loads(self._store.get(manifest["history"]))
            for blob in manifest["files"].values():
                self._store.get(blob)
        except Damaged:
            self._store.set_aside("fits", task.key)
            return None
        took = manifest.get("predict_ms")
        return Fit(task, valid, history, manifest["seconds"], manifest["files"], reused=True, predict_ms=took)

    def keep(self, done: Fitted) -> Fit:
        """Commit a complete fit task; where another process was first, its result stands."""
        assert done.complete, "what was stopped before its time is never taken for the full task"
        manifest: Manifest = {
            "task": str(done.task),
            "kind": done.task.kind,
            "valid": self._store.put(_bytes(done.valid)),
            "history": self._store.put(json.dumps(done.history).encode()),
            "files": {name: self._store.put(content) for name, content in done.files.items()},
            "seconds": done.seconds,
            "predict_ms": done.predict_ms,
        }
        standing = self._store.commit("fits", done.task.key, manifest)
        try:
            valid = _array(self._store.get(standing["valid"]))
        except Damaged:
            self._store.set_aside("fits", done.task.key)
            return self.keep(done)
        seconds, took = standing["seconds"], standing.get("predict_ms")
        return Fit(done.task, valid, done.history, seconds, standing["files"], reused=False, predict_ms=took)

    def hold(self, done: Fitted) -> Fit:
        """A fit task that was stopped before its time, for this job only: its files are there, under no key."""
        files = {name: self._store.put(content) for name, content in done.files.items()}
        fit = Fit(done.task, done.valid, done.history, done.seconds, files, reused=False, complete=False)
        return replace(fit, predict_ms=done.predict_ms)

    def files(self, fit: Fit) -> dict[str, bytes]:
        """The content of a finished member's files; raises `Damaged`."""
        return {name: self._store.get(blob) for name, blob in fit.files.items()}

    def size(self, fit: Fit) -> int:
        """The bytes of a finished member's files."""
        return sum(self._store.size(blob) for blob in fit.files.values())

    def keep_checkpoint(self, taken: Checkpointed) -> None:
        self._store.replace("checkpoints", taken.task.key, {"state": self._store.put(taken.content)})

    def checkpoint(self, task: FitTask) -> bytes | None:
        """The newest sound state of a fit task."""
        manifest = self._store.find("checkpoints", task.key)
        if manifest is None:
            return None
        try:
            return self._store.get(manifest["state"])
        except Damaged:
            if self._store.find("checkpoints", task.key) == manifest:  # else another process has a newer one
                self._store.set_aside("checkpoints", task.key)
                return None
            return self.checkpoint(task)

    def drop_checkpoint(self, task: FitTask) -> None:
        """Forget the states of a finished task."""
        self._store.drop("checkpoints", task.key)

    def keep_prediction(self, key: str, proba: Proba) -> None:
        self._store.commit("predictions", key, {"proba": self._store.put(_bytes(proba))})

    def keep_predicted(self, done: Predicted) -> None:
        self.keep_prediction(done.task.key, done.proba)

    def prediction(self, task: PredictTask) -> Proba | None:
        """Probabilities that were computed before, verified."""
        manifest = self._store.use("predictions", task.key)
        if manifest is None:
            return None
        try:
            return _array(self._store.get(manifest["proba"]))
        except Damaged:
            self._store.set_aside("predictions", task.key)
            return None

    def keep_features(self, done: Featured) -> None:
        self._store.commit("features", done.task.key, {"matrix": self._store.put(_bytes(done.matrix))})

    def has_features(self, task: FeatureTask) -> bool:
        return self._store.find("features", task.key) is not None

    def features(self, task: FeatureTask) -> Matrix | None:
        """Vectors that were computed before, verified."""
        manifest = self._store.use("features", task.key)
        if manifest is None:
            return None
        try:
            return _array(self._store.get(manifest["matrix"]))
        except Damaged:
            self._store.set_aside("features", task.key)
            return None


def _bytes(array: Proba) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> Proba:
    array: Proba = np.load(io.BytesIO(content), allow_pickle=False)
    return array
