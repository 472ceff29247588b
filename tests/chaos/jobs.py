"""The jobs that are disturbed: small batches, so that epochs of few rows take a fraction of a second."""

from __future__ import annotations

from typing import Any

NET = {"kind": "net", "arch": "small_cnn", "schedule": "one_cycle", "lr": 0.02, "dropout": 0.1, "batch_size": 4}

JOB: dict[str, Any] = {
    "name": "chaos",
    "data": {"kind": "digits", "limit": 1200},
    "validation": {"folds": 3},
    "members": {
        "cnn": {**NET, "epochs": 14},
        "plain_cnn": {**NET, "epochs": 8, "batch_size": 8, "dropout": 0.0, "schedule": "constant"},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 8, "batch_size": 4},
        "logistic": {"kind": "logistic"},
        "svm": {"kind": "svm", "C": 10},
        "forest": {"kind": "random_forest", "trees": 60},
    },
    "execution": {"executor": "ray", "checkpoint_seconds": 0, "workers": 2},
}
"""Eighteen fit tasks of six kinds of members."""
JOB_SECONDS = 22.0
"""Seconds of its training on two workers, measured on two cores; the times of faults depend on it."""

SHORT_JOB: dict[str, Any] = {
    **JOB,
    "name": "short",
    "data": {"kind": "digits", "limit": 800},
    "validation": {"folds": 2},
    "members": {"cnn": {**NET, "epochs": 12}, "logistic": {"kind": "logistic"}},
}
SHORT_JOB_SECONDS = 4.0
"""The same of the short job."""
