"""Read and write the records of finished work and of checkpoints, which are the manifests in the store.

Bytes such as predictions are blobs, and a record names them by their SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from quorate.errors import UserError
from quorate.store import Damaged, Manifest
from quorate.training.context import MemoryUse


class _StoreRecord(BaseModel):
    """A record of one space of the store. Keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    space: ClassVar[str]
    """Name of the space: the folder of the store with the records of this kind."""
    version: int = 1
    """Version of the record. The first version, 1, is not written to the record."""

    @classmethod
    def read(cls, saved: Manifest) -> Self:
        """Read a record; raises `Damaged` if it lacks a key, and `UserError` if a later version wrote it."""
        newest = cls.model_fields["version"].default
        found = saved.get("version", 1)
        if isinstance(found, int) and found > newest:
            raise UserError(
                f"a record in {cls.space}/ of the store has version {found}, but this version of Quorate reads "
                f"{newest}; use the version that wrote it, or another store"
            )
        try:
            return cls.model_validate(saved)
        except ValidationError as error:
            raise Damaged(f"a record in {cls.space}/ cannot be read: {error}") from None

    def to_json(self) -> Manifest:
        return self.model_dump(exclude={"version"})


class FitRecord(_StoreRecord):
    """A finished fit task."""

    space = "fits"

    task: str = ""
    """A readable description of the task, for people who look into the store."""
    kind: str = "unknown"
    """The kind of the member; `unknown` if it is not recorded."""
    valid: str
    """Blob of its predictions for its validation rows (n, K), as `.npy`."""
    history: str
    """Blob of its curves: a JSON list with one object per epoch."""
    files: Mapping[str, str]
    """Blob of each file of the member's folder, by its name."""
    seconds: float
    """Duration of the training, in seconds."""
    predict_ms: float | None = None
    """Milliseconds to predict one row, in batches; None if it was not measured."""
    estimated_memory: MemoryUse | None = None
    """Memory that the plan expected, in bytes; None if it is not recorded."""
    used_memory: MemoryUse | None = None
    """The most memory that the training used, in bytes; None if it was not measured."""


class CheckpointRecord(_StoreRecord):
    """The newest state of an unfinished fit task."""

    space = "checkpoints"

    state: str
    """Blob of the state."""


class PredictionRecord(_StoreRecord):
    """The predictions of a finished fit task's model for other rows."""

    space = "predictions"

    proba: str
    """Blob of the probabilities (n, K), as `.npy`."""


class FeatureRecord(_StoreRecord):
    """The finished features of a backbone."""

    space = "features"

    matrix: str
    """Blob of the vectors (n, width), as `.npy`."""
