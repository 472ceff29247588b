"""The jobs that are disturbed."""

from __future__ import annotations

from typing import Any

NET = {"kind": "net", "arch": "small_cnn", "schedule": "one_cycle", "lr": 0.05, "dropout": 0.1}

JOB: dict[str, Any] = {
    "name": "chaos",
    "data": {"kind": "digits", "limit": 1200},
    "validation": {"folds": 3},
    "members": {
        "cnn": {**NET, "epochs": 90},
        "plain_cnn": {**NET, "epochs": 45, "dropout": 0.0, "schedule": "constant"},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 60},
        "logistic": {"kind": "logistic"},
        "svm": {"kind": "svm", "C": 10},
        "forest": {"kind": "random_forest", "trees": 60},
    },
    "execution": {"executor": "ray", "checkpoint_seconds": 0, "workers": 2},
}
JOB_SECONDS = 22.0
"""Seconds of its training on two workers, measured on two cores; the times of faults depend on it."""

SHORT_JOB: dict[str, Any] = {
    **JOB,
    "name": "short",
    "data": {"kind": "digits", "limit": 800},
    "validation": {"folds": 2},
    "members": {
        "cnn": {**NET, "epochs": 45},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 40},
        "logistic": {"kind": "logistic"},
    },
}
SHORT_JOB_SECONDS = 6.0
"""The same of the short job."""
