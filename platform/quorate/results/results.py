"""Store finished work, and find and verify it for every job that shares the store."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset
from quorate.data.features import Matrix
from quorate.execution.content import Content, SpooledFile, WrittenBlob
from quorate.execution.events import Checkpointed, Featured, Fitted, Predicted
from quorate.members.base import Proba
from quorate.plan.half_batch import on_accelerator_with_half_batch
from quorate.plan.identity import digest, predict_key
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask
from quorate.registry import MEMBERS
from quorate.results.destination import StoreDestination, destination_in
from quorate.results.records import CheckpointRecord, FeatureRecord, FitRecord, PredictionRecord
from quorate.store import Damaged, Store
from quorate.training.context import MemoryUse
from quorate.training.state import pack_state, unpack_state


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


@dataclass(frozen=True)
class BlobFile:
    """A file whose content is a blob of the store; a `FileSource`."""

    store: Store
    sha256: str

    def copy(self, path: Path) -> None:
        """Write the content to `path`; raises `Damaged`."""
        self.store.copy(self.sha256, path)


class Results:
    """Fit tasks, checkpoints, predictions and features, by key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def destination(self) -> AbstractContextManager[StoreDestination]:
        """Where the workers of a session write their blobs, until the end of the context."""
        return destination_in(self._store)

    def find(self, task: FitTask) -> Fit | None:
        """Return the finished fit task, or None. A damaged one is set aside and counts as not finished.

        For a task on an accelerator, the result with half of the batch also counts.
        """
        found = self._find(task)
        if found is None and (half := on_accelerator_with_half_batch(task)) is not None:
            return self._find(half)
        return found

    def _find(self, task: FitTask) -> Fit | None:
        saved = self._store.use(FitRecord.space, task.result_key)
        if saved is None or (_keeps_state(task) and self._last_state(task.key) is None):
            return None
        try:
            record = FitRecord.read(saved)
            valid = _array(self._store.get(record.valid))
            history = json.loads(self._store.get(record.history))
            for blob in record.files.values():
                self._store.verify(blob)
        except Damaged:
            self._store.set_aside(FitRecord.space, task.result_key)
            return None
        fit = Fit(task, valid, history, record.seconds, record.files, reused=True)
        return replace(fit, predict_ms=record.predict_ms, memory=record.used_memory)

    def written(self, done: Fitted) -> Fitted:
        """Store the files of a result that are not in the store yet; the returned result names all of them."""
        others = tuple(map(self.written, done.others))
        return replace(done, files={name: self._blob(content) for name, content in done.files.items()}, others=others)

    def keep(self, done: Fitted) -> Fit:
        """Commit a complete fit task; if another process has committed it first, return that result."""
        assert done.complete, "a task that was stopped early is not the full task"
        own = FitRecord(
            task=str(done.task),
            kind=done.task.kind,
            valid=self._store.put(_bytes(done.valid)),
            history=self._store.put(json.dumps(done.history).encode()),
            files=self._put_files(done),
            seconds=done.seconds,
            predict_ms=done.predict_ms,
            estimated_memory=done.task.estimate,
            used_memory=done.memory,
        ).to_json()
        saved = self._store.commit(FitRecord.space, done.task.result_key, own)
        valid = done.valid
        try:
            record = FitRecord.read(saved)
            if saved != own:
                valid = _array(self._store.get(record.valid))
        except Damaged:
            self._store.set_aside(FitRecord.space, done.task.result_key)
            return self.keep(done)
        fit = Fit(done.task, valid, done.history, record.seconds, record.files, reused=False)
        return replace(fit, predict_ms=record.predict_ms, memory=record.used_memory)

    def hold(self, done: Fitted) -> Fit:
        """Store the files of a fit task that was stopped early. No key refers to them, so only this job uses them."""
        files = self._put_files(done)
        fit = Fit(done.task, done.valid, done.history, done.seconds, files, reused=False, complete=False)
        return replace(fit, predict_ms=done.predict_ms, memory=done.memory)

    def _put_files(self, done: Fitted) -> dict[str, str]:
        """The blob of each file of a result."""
        return {name: self._blob(content).name for name, content in done.files.items()}

    def _blob(self, content: Content) -> WrittenBlob:
        """The blob with a content, which a worker has written, or which is stored now."""
        if isinstance(content, WrittenBlob):
            return content
        if isinstance(content, SpooledFile):
            return WrittenBlob(self._store.put_file(content.path), content.size)
        return WrittenBlob(self._store.put(content), len(content))

    def files(self, fit: Fit) -> dict[str, bytes]:
        """Return the content of each file of a finished member; raises `Damaged`."""
        return {name: self._store.get(blob) for name, blob in fit.files.items()}

    def read(self, fit: Fit, file: str) -> bytes:
        """Return the content of one file of a finished member; raises `Damaged`."""
        return self._store.get(fit.files[file])

    def sources(self, fit: Fit) -> dict[str, BlobFile]:
        """Return each file of a finished member as a file for a bundle, without reading it."""
        return {name: BlobFile(self._store, blob) for name, blob in fit.files.items()}

    def size(self, fit: Fit) -> int:
        """Return the total size of a finished member's files, in bytes."""
        return sum(self._store.size(blob) for blob in fit.files.values())

    def keep_checkpoint(self, taken: Checkpointed) -> None:
        """Replace the checkpoint of a fit task."""
        record = CheckpointRecord(state=self._blob(taken.content).name)
        self._store.replace(CheckpointRecord.space, taken.task.state_key, record.to_json())

    def checkpoint(self, task: FitTask) -> bytes | None:
        """Return the newest undamaged state of a fit task, or that with which it begins; None without one."""
        newest = self._newest_state(task)
        return self._last_state(task.origin) if newest is None and task.origin else newest

    def _newest_state(self, task: FitTask) -> bytes | None:
        saved = self._store.find(CheckpointRecord.space, task.state_key)
        if saved is None:
            return None
        try:
            return self._store.get(CheckpointRecord.read(saved).state)
        except Damaged:
            # otherwise another process has written a newer one
            if self._store.find(CheckpointRecord.space, task.state_key) == saved:
                self._store.set_aside(CheckpointRecord.space, task.state_key)
                return None
            return self._newest_state(task)

    def _keep_last_state(self, task: FitTask) -> None:
        """Keep the newest state of a task that has ended; it is copied, because the next one replaces it."""
        content = self._newest_state(task)
        if content is not None:
            blob = self._store.put(pack_state({**unpack_state(content), "task": task.key}))
            self._store.replace(CheckpointRecord.space, _key_of_state(task.key), CheckpointRecord(state=blob).to_json())

    def _last_state(self, key: str) -> bytes | None:
        """The state that was kept at the end of the task with this key; None if there is none, or it is damaged."""
        saved = self._store.use(CheckpointRecord.space, _key_of_state(key))
        try:
            return self._store.get(CheckpointRecord.read(saved).state) if saved is not None else None
        except Damaged:
            self._store.set_aside(CheckpointRecord.space, _key_of_state(key))
            return None

    def state(self, taken: Checkpointed) -> bytes | None:
        """Return the bytes of a checkpoint; None if a worker has written them and they are damaged."""
        if isinstance(taken.content, bytes):
            return taken.content
        if isinstance(taken.content, SpooledFile):
            return taken.content.path.read_bytes()
        try:
            return self._store.get(taken.content.name)
        except Damaged:
            return None

    def discard(self, taken: Checkpointed) -> None:
        """Remove what a worker has written for a checkpoint that is not kept."""
        if isinstance(taken.content, WrittenBlob):
            self._store.discard(CheckpointRecord.space, taken.task.state_key, taken.content.name)

    def drop_checkpoint(self, task: FitTask) -> None:
        """Remove the checkpoint of a finished task."""
        for key in {task.key, task.state_key}:
            self._store.drop(CheckpointRecord.space, key)

    def keep_all(self, done: Fitted, test: Dataset | None) -> Fit:
        """Commit a complete fit task with its predictions for the test rows, if it has them; drop its checkpoint."""
        fit = self.keep(done)
        if _keeps_state(done.task):
            self._keep_last_state(done.task)
        if done.task.until is None:
            self.drop_checkpoint(done.task)
        elif len(done.history) < done.task.until and not MEMBERS.get(done.task.kind).views(done.task.params):
            whole = replace(done.task, key=done.task.whole, until=None, whole="")  # the training has ended by itself
            self.keep_all(replace(done, task=whole), test)
        if done.test is not None and test is not None:
            self.keep_prediction(predict_key(done.task.result_key, test), done.test)
        return fit

    def keep_prediction(self, key: str, proba: NDArray[np.floating[Any]]) -> None:
        record = PredictionRecord(proba=self._store.put(_bytes(proba)))
        self._store.commit(PredictionRecord.space, key, record.to_json())

    def keep_predicted(self, done: Predicted) -> None:
        self.keep_prediction(done.task.key, done.proba)

    def prediction(self, task: PredictTask) -> Proba | None:
        """Return stored probabilities (n, K), verified, or None."""
        return cast(Proba | None, self.proba(task.key))

    def proba(self, key: str) -> NDArray[np.floating[Any]] | None:
        """Return the probabilities (n, K) that were kept under this key, verified, or None."""
        saved = self._store.use(PredictionRecord.space, key)
        if saved is None:
            return None
        try:
            return _array(self._store.get(PredictionRecord.read(saved).proba))
        except Damaged:
            self._store.set_aside(PredictionRecord.space, key)
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


def _keeps_state(task: FitTask) -> bool:
    return task.kept and task.until is not None


def _key_of_state(key: str) -> str:
    """The key of the state at the end of a task; not that of the task, whose checkpoints are collected when it has
    ended."""
    return digest(what="last state", task=key)


def _bytes(array: NDArray[np.floating[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> Proba:
    array: Proba = np.load(io.BytesIO(content), allow_pickle=False)
    return array
