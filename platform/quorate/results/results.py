"""Store finished work, and find and verify it for every job that shares the store."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from quorate.data.features import Matrix
from quorate.execution.events import Checkpointed, Featured, Fitted, Predicted
from quorate.members.base import Proba
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask
from quorate.results.records import CheckpointRecord, FeatureRecord, FitRecord, PredictionRecord
from quorate.store import Damaged, Store
from quorate.training.context import MemoryUse


@dataclass(frozen=True)
class Fit:
    """A finished fit task."""

    task: FitTask
    valid: Proba
    """Predictions for its validation rows (n, K)."""
    history: list[dict[str, float]]
    """Its curves, one mapping per epoch."""
    seconds: float
    """Duration of the training, in seconds."""
    files: Mapping[str, str]
    """Blob of each file of the member's folder, by its name."""
    reused: bool
    """Whether an earlier job has trained it."""
    complete: bool = True
    """False if it was stopped early: it is used in this job's ensemble and is not stored under its key."""
    predict_ms: float | None = None
    """Milliseconds to predict one row, in batches; None if it was not measured."""
    memory: MemoryUse | None = None
    """The most memory that its training used; None if it was not measured."""


class Results:
    """Fit tasks, checkpoints, predictions and features, by key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, task: FitTask) -> Fit | None:
        """Return the finished fit task, or None. A damaged one is set aside and counts as not finished."""
        saved = self._store.use(FitRecord.space, task.key)
        if saved is None:
            return None
        try:
            record = FitRecord.read(saved)
            valid = _array(self._store.get(record.valid))
            history = json.loads(self._store.get(record.history))
            for blob in record.files.values():
                self._store.get(blob)
        except Damaged:
            self._store.set_aside(FitRecord.space, task.key)
            return None
        fit = Fit(task, valid, history, record.seconds, record.files, reused=True)
        return replace(fit, predict_ms=record.predict_ms, memory=record.used_memory)

    def keep(self, done: Fitted) -> Fit:
        """Commit a complete fit task; if another process has committed it first, return that result."""
        assert done.complete, "a task that was stopped early is not the full task"
        own = FitRecord(
            task=str(done.task),
            kind=done.task.kind,
            valid=self._store.put(_bytes(done.valid)),
            history=self._store.put(json.dumps(done.history).encode()),
            files={name: self._store.put(content) for name, content in done.files.items()},
            seconds=done.seconds,
            predict_ms=done.predict_ms,
            estimated_memory=done.task.estimate,
            used_memory=done.memory,
        )
        saved = self._store.commit(FitRecord.space, done.task.key, own.to_json())
        try:
            record = FitRecord.read(saved)
            valid = _array(self._store.get(record.valid))
        except Damaged:
            self._store.set_aside(FitRecord.space, done.task.key)
            return self.keep(done)
        fit = Fit(done.task, valid, done.history, record.seconds, record.files, reused=False)
        return replace(fit, predict_ms=record.predict_ms, memory=record.used_memory)

    def hold(self, done: Fitted) -> Fit:
        """Store the files of a fit task that was stopped early. No key refers to them, so only this job uses them."""
        files = {name: self._store.put(content) for name, content in done.files.items()}
        fit = Fit(done.task, done.valid, done.history, done.seconds, files, reused=False, complete=False)
        return replace(fit, predict_ms=done.predict_ms, memory=done.memory)

    def files(self, fit: Fit) -> dict[str, bytes]:
        """Return the content of each file of a finished member; raises `Damaged`."""
        return {name: self._store.get(blob) for name, blob in fit.files.items()}

    def size(self, fit: Fit) -> int:
        """Return the total size of a finished member's files, in bytes."""
        return sum(self._store.size(blob) for blob in fit.files.values())

    def keep_checkpoint(self, taken: Checkpointed) -> None:
        """Replace the checkpoint of a fit task."""
        record = CheckpointRecord(state=self._store.put(taken.content))
        self._store.replace(CheckpointRecord.space, taken.task.key, record.to_json())

    def checkpoint(self, task: FitTask) -> bytes | None:
        """Return the newest undamaged state of a fit task, or None."""
        saved = self._store.find(CheckpointRecord.space, task.key)
        if saved is None:
            return None
        try:
            return self._store.get(CheckpointRecord.read(saved).state)
        except Damaged:
            # otherwise another process has written a newer one
            if self._store.find(CheckpointRecord.space, task.key) == saved:
                self._store.set_aside(CheckpointRecord.space, task.key)
                return None
            return self.checkpoint(task)

    def drop_checkpoint(self, task: FitTask) -> None:
        """Remove the checkpoint of a finished task."""
        self._store.drop(CheckpointRecord.space, task.key)

    def keep_prediction(self, key: str, proba: Proba) -> None:
        record = PredictionRecord(proba=self._store.put(_bytes(proba)))
        self._store.commit(PredictionRecord.space, key, record.to_json())

    def keep_predicted(self, done: Predicted) -> None:
        self.keep_prediction(done.task.key, done.proba)

    def prediction(self, task: PredictTask) -> Proba | None:
        """Return stored probabilities (n, K), verified, or None."""
        saved = self._store.use(PredictionRecord.space, task.key)
        if saved is None:
            return None
        try:
            return _array(self._store.get(PredictionRecord.read(saved).proba))
        except Damaged:
            self._store.set_aside(PredictionRecord.space, task.key)
            return None

    def keep_features(self, done: Featured) -> None:
        record = FeatureRecord(matrix=self._store.put(_bytes(done.matrix)))
        self._store.commit(FeatureRecord.space, done.task.key, record.to_json())

    def has_features(self, task: FeatureTask) -> bool:
        return self._store.find(FeatureRecord.space, task.key) is not None

    def features(self, task: FeatureTask) -> Matrix | None:
        """Return stored vectors (n, width), verified, or None."""
        saved = self._store.use(FeatureRecord.space, task.key)
        if saved is None:
            return None
        try:
            return _array(self._store.get(FeatureRecord.read(saved).matrix))
        except Damaged:
            self._store.set_aside(FeatureRecord.space, task.key)
            return None


def _bytes(array: Proba) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> Proba:
    array: Proba = np.load(io.BytesIO(content), allow_pickle=False)
    return array
