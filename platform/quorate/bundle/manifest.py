"""The manifest of a bundle, `manifest.json`: what the bundle is, how its members are combined, and its files' hashes.

Only this module reads and writes the file.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from quorate.data.labels import LabelCoding
from quorate.data.signature import Signature, signature_from_json
from quorate.ensemble.combination import Combination
from quorate.errors import UserError
from quorate.json_text import json_text

SCHEMA = 3
"""The schema that this version of Quorate reads and writes; ensembles of schema 1 and 2 must be trained again."""
MANIFEST = "manifest.json"
_LISTED = 10
"""Maximum number of missing keys in a message."""

Figures = Mapping[str, float | None]
"""`accuracy`, `nll` (nats), `ece` and `brier`; None for a value that is not finite."""


class BundleError(UserError):
    """The folder is not a bundle, or its content does not match its manifest."""


class _ManifestPart(BaseModel):
    """A part of a manifest. Keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)


class BundleInput(_ManifestPart):
    """The signature of one row, and how pictures are resized to it."""

    signature: Signature
    """The signature of one row; its keys from `Signature.to_json` are stored on the same level as `resize`."""
    resize: int | None = None
    """Length of a picture's shorter side before the centre crop, in pixels; None for the side length of the crop."""

    @model_validator(mode="before")
    @classmethod
    def _read_signature(cls, saved: Any) -> Any:
        if not isinstance(saved, Mapping) or "signature" in saved:
            return saved
        try:
            signature = signature_from_json(saved)
            if signature.kind == "image" and saved["dtype"] != "uint8":
                raise ValueError(
                    f"images have the type {saved['dtype']!r}, but this version of Quorate reads only uint8"
                )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"does not describe a table or an image: {error!r}") from None
        return {"signature": signature, "resize": saved.get("resize")}

    @model_serializer
    def to_json(self) -> dict[str, Any]:
        """Return the form stored in the manifest."""
        return {**self.signature.to_json(), "resize": self.resize}


class BundleData(_ManifestPart):
    """The training data, and how files of new rows are read; the other fields are those of `FileSettings`."""

    fingerprint: str
    """SHA-256 of the training rows."""
    rows: int
    """Number of training rows."""
    labels_are: LabelCoding | None = None
    """How integer labels are read; None in bundles of earlier versions."""
    label: str | None = None
    labels: str | None = None
    images: str | None = None
    groups: str | None = None
    missing: tuple[str, ...] | None = None
    separator: str | None = None
    on_corrupt: str | None = None


class BundleMember(_ManifestPart):
    """One member of the ensemble, in the order of the combination's weights."""

    name: str
    kind: str
    weight: float
    """Weight in the ensemble, rounded to six digits; a member of weight 0 has no files."""
    temperature: float | None
    """Temperature of the member's calibration, rounded to six digits; None for calibrations of other kinds."""
    oof: Figures | None
    """Metrics on the out-of-fold rows; None if no row is covered."""
    test: Figures | None
    """Metrics on the test rows; None if the member did not predict them."""
    folds: tuple[str, ...]
    """Folders of the member's fold models, relative to the bundle; empty for weight 0."""
    requires: str | None = None
    """Package that loading the member requires besides Quorate; None if there is none."""
    reason: str | None = None
    """Why the member requires the package."""
    loader: str | None = None
    """The loader, such as `onnx`, that loads a user's own kind without the user's code; None for all other members."""

    def reweighted(self, *, weight: float, temperature: float | None) -> Self:
        """Return the member with the given weight and temperature, for another ensemble; for weight 0, without
        files."""
        folds = self.folds if weight > 0 else ()
        return self.model_copy(update={"weight": round(weight, 6), "temperature": temperature, "folds": folds})


class SavedCalibration(_ManifestPart):
    """A calibration: its kind, with the values that the kind reads."""

    model_config = ConfigDict(extra="allow")

    kind: str


class BundleCombination(_ManifestPart):
    """A `Combination` as stored. Reading it does not import the user's code, but the method `combination` does."""

    kind: str
    """The kind of combiner that was fitted."""
    pool: str | None = None
    """The kind of combiner that pools the members in place of `kind`; None if `kind` does so itself."""
    requires: str | None = None
    """Package that the user's own combiner requires; None if there is none."""
    weights: tuple[float, ...]
    calibrations: tuple[SavedCalibration, ...]
    calibration: SavedCalibration

    @property
    def pooling(self) -> str:
        """The kind of combiner that pools the members' probabilities."""
        return self.pool or self.kind

    @classmethod
    def of(cls, combination: Combination) -> Self:
        return cls.model_validate(combination.to_json())

    def combination(self) -> Combination:
        """Return the combination; raises `BundleError` if its values do not fit together, or a calibration is
        unknown."""
        if len(self.weights) != len(self.calibrations):
            raise BundleError(
                f"the combination has {len(self.weights)} weights and {len(self.calibrations)} calibrations"
            )
        total = sum(self.weights)
        if not (math.isclose(total, 1, rel_tol=1e-5) and min(self.weights) >= 0):
            raise BundleError(f"the weights of the combination must be at least 0 and sum to 1, found sum {total:g}")
        try:
            return Combination.from_json(self.model_dump(exclude_unset=True))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else f"is not valid: {error}"
            raise BundleError(f"a calibration of the combination {reason}") from None


class BundleMetrics(_ManifestPart):
    """Metrics of the ensemble, rounded to six digits."""

    oof: Figures
    """Cross-fitted, on the out-of-fold rows that all members cover."""
    test: Figures | None
    """On the test rows; None without predictions of all members for them."""


class BundlePruning(_ManifestPart):
    """How a bundle was pruned, and how this changed the metrics; see `EnsembleChange` for the differences."""

    run: str = Field(alias="from")
    """Name of the run from which the bundle was made."""
    members: tuple[str, ...]
    """Members of the ensemble before pruning."""
    nll: float
    nll_error: float
    accuracy: float
    accuracy_error: float


class BundleManifest(_ManifestPart):
    """The content of `manifest.json`."""

    version: int = Field(SCHEMA, alias="schema")
    """The schema of the file."""
    job: str
    """Name of the job."""
    run: str
    """Name of the run. For a bundle of one network that was made from a run, a slash and the network's name follow."""
    created: str
    """UTC time in ISO 8601, such as `2026-01-05T10:15:00Z`."""
    class_names: tuple[str, ...]
    """Class names (K,), in the order of the probabilities."""
    input: BundleInput
    data: BundleData
    seed: int
    """Seed of the job."""
    versions: Mapping[str, str]
    """Versions of Quorate, Python and the libraries that the ensemble was trained with."""
    members: tuple[BundleMember, ...]
    combination: BundleCombination
    quorum: int
    """Minimum number of members that must predict a row."""
    metrics: BundleMetrics
    production: str | None = None
    """How the models in the bundle differ from the validated fold models; None if they are the same."""
    pruned: BundlePruning | None = None
    """How the bundle was pruned; None if it was not."""
    files: Mapping[str, str]
    """SHA-256 of each file, by its path relative to the bundle; see `bundle.folder.hashes_of`."""

    @property
    def packed(self) -> tuple[BundleMember, ...]:
        """The members whose models are in the bundle: those with a weight above 0."""
        return tuple(member for member in self.members if member.folds)

    @property
    def places(self) -> tuple[str, ...]:
        """Folders of all fold models, relative to the bundle."""
        return tuple(place for member in self.members for place in member.folds)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file, without fields that were never set."""
        return {"schema": self.version} | self.model_dump(by_alias=True, exclude_unset=True)

    def to_bytes(self) -> bytes:
        return json_text(self.to_json()).encode()


def read_manifest(folder: Path) -> BundleManifest:
    """Read the manifest of a bundle; raises `BundleError` if it is missing, or cannot be read by this version."""
    path = folder / MANIFEST
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    found = saved.get("schema") if isinstance(saved, dict) else None
    if found != SCHEMA:
        raise BundleError(
            f"{folder} has schema version {found!r}, but this version of Quorate reads {SCHEMA}; use the version that "
            "wrote it"
        )
    try:
        return BundleManifest.model_validate(saved)
    except ValidationError as error:
        raise BundleError(f"{path} {_explained(error)}") from None


def _explained(error: ValidationError) -> str:
    """Describe which keys are missing, or else what is wrong with the first invalid value."""
    problems = error.errors(include_url=False)
    places = {".".join(map(str, problem["loc"])): problem for problem in problems}
    if missing := sorted(place for place, problem in places.items() if problem["type"] == "missing"):
        return f"lacks {', '.join(missing[:_LISTED])}" + (", …" if len(missing) > _LISTED else "")
    place, first = next(iter(places.items()))
    what = first["msg"].removeprefix("Value error, ")
    found = "" if first["type"] == "value_error" else f", found {reprlib.repr(first['input'])}"
    return f"is not the manifest of a bundle: {place}: {what}{found}"
