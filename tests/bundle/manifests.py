"""Manifests of bundles, for tests that need one."""

from __future__ import annotations

from typing import Any

from quorate.bundle import BundleManifest


def saved_manifest(**changes: Any) -> dict[str, Any]:
    """The content of `manifest.json`: 8 x 8 images, three classes, and members with two folds, one fold and no
    folds."""
    temperatures = [{"kind": "temperature", "temperature": temperature} for temperature in (2.0, 1.0, 1.0)]
    return {
        "schema": 3,
        "job": "small",
        "run": "small-20260105-101500",
        "created": "2026-01-05T10:15:00Z",
        "class_names": ["a", "b", "c"],
        "input": {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1], "resize": None},
        "data": {"fingerprint": "0" * 64, "rows": 30, "labels_are": "names"},
        "seed": 0,
        "versions": {"quorate": "0.1.0"},
        "members": [
            saved_member("line", 0.75, ["members/line/0", "members/line/1"]),
            saved_member("wood", 0.25, ["members/wood/0"]),
            saved_member("idle", 0.0, []),
        ],
        "combination": {
            "kind": "mean",
            "weights": [0.75, 0.25, 0.0],
            "calibrations": temperatures,
            "calibration": {"kind": "temperature", "temperature": 1.5},
        },
        "quorum": 1,
        "metrics": {"oof": {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "brier": 0.5}, "test": None},
        "files": {},
    } | changes


def saved_member(name: str, weight: float, folds: Any, **more: Any) -> dict[str, Any]:
    figures = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "brier": 0.5}
    entry = {"name": name, "kind": "logistic", "weight": weight, "temperature": 1.0, "oof": figures, "test": None}
    return entry | {"folds": folds} | more


def a_manifest(**changes: Any) -> BundleManifest:
    return BundleManifest.model_validate(saved_manifest(**changes))
