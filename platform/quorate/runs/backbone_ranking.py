"""The ranking of frozen networks as a typed record, with the reader and the writer of `backbones.json`."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from quorate.runs.errors import RunError
from quorate.runs.folder import RunFolder

NAME = "backbones.json"
SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RankedBackbone(_Record):
    """One network and what its frozen features say about the training rows."""

    name: str
    """The architecture without its family, with a number if several have the same."""
    arch: str
    weights: str
    """`hub`, or the path of the file."""
    size: int | None
    width: int
    """Number of features."""
    knn_accuracy: float
    """Leave-one-out accuracy of the nearest neighbours."""
    probe_accuracy: float
    probe_nll: float
    """Cross-validated figures of a logistic regression."""
    seconds: float
    """Core seconds that computing the features took; 0 if they were in the store."""


class BackboneUse(_Record):
    """The networks of one member, best first."""

    member: str
    of: tuple[str, ...]
    kept: tuple[str, ...]
    agreeing_folds: int
    """Number of folds whose training rows alone give the same `kept`, in any order."""


class BackboneRanking(_Record):
    """Frozen networks in the order of their probe's log-loss, the best first."""

    schema_version: int = SCHEMA
    rows: int
    """Number of training rows that were used."""
    folds: int
    """Number of folds of the job."""
    networks: tuple[RankedBackbone, ...]
    left_out: dict[str, str] = {}
    """Why a network is not ranked, by its architecture."""
    uses: tuple[BackboneUse, ...] = ()

    def write(self, folder: RunFolder) -> None:
        folder.write(NAME, self.model_dump_json(indent=1).encode())

    @classmethod
    def read(cls, folder: RunFolder) -> Self | None:
        """The ranking of a run; None if the run has none. Raises `RunError` if it is damaged."""
        path = folder.path / NAME
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} is damaged: {error.errors(include_url=False)[0]['msg']}") from None
