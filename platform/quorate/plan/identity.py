"""Compute seeds, keys and digests from everything that determines a result, and from nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from quorate.data.dataset import Dataset
from quorate.data.folds import Fold
from quorate.registry import KindParams, own_reference
from quorate.registry.own_code import source_digest
from quorate.spec import JobSpec
from quorate.training.augment import Augment

_PLACE_ONLY = {"copies", "cpus", "gpus", "memory", "needs", "search"}
"""Parameters that do not change a result; threads and device belong to the numerics."""


def predict_key(fit_key: str, rows: Dataset) -> str:
    """The key of one fit task's probabilities for `rows`."""
    return digest(what="predict", fit=fit_key, rows=rows.rows_digest)


def derive_seed(*parts: object) -> int:
    """A seed below 2**62 from parts such as (job seed, member, copy, fold); the order of execution does not matter."""
    return int(digest(seed=[str(part) for part in parts]), 16) % 2**62


def digest(**parts: object) -> str:
    """SHA-256 of the canonical JSON of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def identity_of(params: BaseModel) -> dict[str, Any]:
    """The parameters that determine a result: those that differ from their defaults, and files by their content.

    Defaults are left out, so that a new parameter of a kind does not change the keys of earlier results. A changed
    default requires a new `version` of the kind.
    """
    chosen: dict[str, Any] = {}
    for name, definition in type(params).model_fields.items():
        value = getattr(params, name)
        if name == "kind" or (name not in _PLACE_ONLY and value != definition.get_default(call_default_factory=True)):
            chosen[name] = _identity(value)
    return chosen


def _identity(value: Any) -> Any:
    if isinstance(value, Augment):
        # the order matters; crop and mirror alone use their older form of two flags, which keeps the keys of earlier
        # results
        return value.flags if value.flags is not None else [_identity(step) for step in value.root]
    if isinstance(value, BaseModel):
        return identity_of(value)
    if isinstance(value, Path):
        return "sha256:" + hashlib.sha256(value.read_bytes()).hexdigest()
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    if isinstance(value, dict):
        return {key: _identity(item) for key, item in value.items()}
    return value


def own_sources(params: KindParams) -> list[list[str]]:
    """`module:name` and the SHA-256 of its source for each of the user's own kinds in `params`."""
    reference = own_reference(params)
    sources = [[reference, source_digest(reference)]] if reference is not None else []
    return sources + [source for _, value in params if isinstance(value, KindParams) for source in own_sources(value)]


def assets_of(spec: JobSpec) -> dict[str, bytes]:
    """The content of each file that a member's parameters name, by path."""
    copies = [params.of_copy(copy) for params in spec.members.values() for copy in range(params.copies)]
    values = [value for params in copies for _, value in params]
    values += [backbone.weights for params in copies for backbone in params.frozen_backbones]
    paths = {value for value in values if isinstance(value, Path)}
    return {str(path): path.read_bytes() for path in paths}


def fold_digest(fold: Fold) -> str:
    content = hashlib.sha256(fold.train.astype("<i8").tobytes())
    content.update(b"|" + fold.valid.astype("<i8").tobytes())
    return content.hexdigest()
