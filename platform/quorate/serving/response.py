"""Convert scores and manifests to the JSON of responses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import BundleManifest
from quorate.data.signature import TableSignature
from quorate.serving.batcher import Rows
from quorate.serving.errors import SHOWN_CHARACTERS
from quorate.serving.model import ModelInfo, Scores

DESCRIBED = ("created", "class_names", "input", "members", "quorum", "metrics", "data")
"""The keys of a manifest that are sent to clients."""
MOST_WARNINGS = 20
"""Maximum number of warnings in a response."""
_UNFAMILIAR = {
    "categorical": "no training row has this category",
    "numeric": "the number is far outside the range of the training rows",
}


def predictions_json(
    scores: Scores, model: ModelInfo, rows: Rows, *, ignored: Sequence[str] = (), members: bool = False
) -> bytes:
    """Return the response to `POST /v1/predict`, with all digits of the probabilities.

    `rows` are the values of the request; `ignored` are its keys that are not columns. `model.lost`, `warnings` and
    `warnings_left_out` are present only if they are not empty.
    """
    served: dict[str, Any] = {"job": model.job, "version": model.version}
    if scores.lost:
        served["lost"] = list(scores.lost)
    if members and model.weightless:
        served["members_without_weight"] = list(model.weightless)
    best = scores.proba.argmax(axis=1)
    averaged = _by_class(scores.proba, model.class_names)
    each = {name: _by_class(proba, model.class_names) for name, proba in scores.members.items()}
    predictions: list[dict[str, Any]] = []
    for i, index in enumerate(best.tolist()):
        name = model.class_names[index]
        prediction: dict[str, Any] = {
            "class": name,
            "index": index,
            "confidence": averaged[i][name],
            "probabilities": averaged[i],
        }
        if members:
            prediction["members"] = {
                member: proba[i]
                for member, proba in each.items()
                if member not in scores.lost or not scores.lost[member][i]
            }
        predictions.append(prediction)
    answer: dict[str, Any] = {"model": served, "predictions": predictions}
    if warned := list(islice(_warnings(scores, model, rows, ignored), MOST_WARNINGS)):
        answer["warnings"] = warned
        count = len(ignored) + sum(int(found.sum()) for found in scores.unfamiliar.values())
        if count > len(warned):
            answer["warnings_left_out"] = count - len(warned)
    return to_json(answer)


def description(manifest: BundleManifest, version: str) -> dict[str, Any]:
    """Return the response to `GET /v1/metadata`."""
    saved = manifest.to_json()
    return {"job": manifest.job, "version": version, **{key: saved[key] for key in DESCRIBED}}


def to_json(value: Any) -> bytes:
    """Return JSON in UTF-8; a lone surrogate, which JSON allows and UTF-8 does not, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _warnings(scores: Scores, model: ModelInfo, rows: Rows, ignored: Sequence[str]) -> Iterator[dict[str, Any]]:
    for key in ignored:
        yield {"field": key[:SHOWN_CHARACTERS], "message": "the ensemble has no such column; the key is ignored"}
    signature = model.signature
    if not isinstance(signature, TableSignature):
        return
    for place, column in enumerate(signature.columns):
        if column.name not in scores.unfamiliar:
            continue
        for row in np.flatnonzero(scores.unfamiliar[column.name]).tolist():
            value = rows[row, place]
            yield {
                "row": row,
                "column": column.name,
                "value": value[:SHOWN_CHARACTERS] if isinstance(value, str) else value,
                "message": _UNFAMILIAR[column.kind],
            }


def _by_class(proba: NDArray[np.float64], class_names: tuple[str, ...]) -> list[dict[str, float]]:
    return [dict(zip(class_names, row, strict=True)) for row in proba.tolist()]
