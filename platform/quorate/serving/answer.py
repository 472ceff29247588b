"""Scores and manifests to the JSON that clients get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.serving.model import ModelInfo, Scores

DESCRIBED = ("created", "class_names", "input", "members", "quorum", "metrics", "data")
"""What of a manifest is told to clients."""


def predictions_json(scores: Scores, model: ModelInfo) -> bytes:
    """The answer to `POST /v1/predict`: probabilities with all their digits.

    `model.lost` is there only when members did not answer.
    """
    served: dict[str, Any] = {"job": model.job, "version": model.version}
    if scores.lost:
        served["lost"] = list(scores.lost)
    best = scores.proba.argmax(axis=1)
    averaged = _by_class(scores.proba, model.class_names)
    members = {name: _by_class(proba, model.class_names) for name, proba in scores.members.items()}
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
            prediction["members"] = {member: each[i] for member, each in members.items()}
        predictions.append(prediction)
    return to_json({"model": served, "predictions": predictions})


def description(manifest: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The answer to `GET /v1/metadata`."""
    said = {key: manifest[key] for key in DESCRIBED if key in manifest}
    return {"job": manifest["job"], "version": version, **said}


def to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _by_class(proba: NDArray[np.float64], class_names: tuple[str, ...]) -> list[dict[str, float]]:
    return [dict(zip(class_names, row, strict=True)) for row in proba.tolist()]
