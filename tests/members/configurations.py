"""A cheap configuration of every kind of member, and how one is trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.data.dataset import Dataset
from quorate.members.base import Member
from quorate.registry import MEMBERS

BOOSTING = {"iterations": 20, "patience": 10, "held_out": 0.15}
NET = {"kind": "net", "epochs": 6, "batch_size": 32, "lr": 0.05}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "svm": {"kind": "svm", "C": 10},
    "svm with a temperature": {"kind": "svm", "calibration": "temperature", "calibration_folds": 2},
    "forest": {"kind": "random_forest", "trees": 15},
    "extra trees": {"kind": "extra_trees", "trees": 15},
    "logistic": {"kind": "logistic"},
    "neighbours": {"kind": "knn", "neighbours": 5},
    "naive bayes": {"kind": "naive_bayes"},
    "gradient boosting": {"kind": "gradient_boosting", "min_samples_leaf": 5, **BOOSTING},
    "lightgbm": {"kind": "lightgbm", "min_samples_leaf": 5, **BOOSTING},
    "xgboost": {"kind": "xgboost", **BOOSTING},
    "catboost": {"kind": "catboost", "depth": 4, "learning_rate": 0.3, **BOOSTING},
    "scikit-learn's own": {
        "kind": "sklearn",
        "estimator": {"class": "sklearn.ensemble.GradientBoostingClassifier", "n_estimators": 20, "max_features": 0.5},
    },
    "mlp": {**NET, "arch": {"kind": "mlp", "hidden": [32]}, "dropout": 0.1},
    "embedded numbers": {
        **NET,
        "arch": {"kind": "mlp", "hidden": [32], "embeddings": {"kind": "piecewise_linear", "size": 4, "bins": 8}},
    },
    "tabm": {
        **NET,
        "arch": {"kind": "tabm", "k": 4, "blocks": 1, "width": 32, "embeddings": {"kind": "periodic", "size": 4}},
        "optimizer": "adamw",
        "lr": 0.02,
    },
    "cnn": {**NET, "arch": {"kind": "small_cnn", "width": 8}, "augment": {"crop": 1, "mirror": False}},
    "resnet": {**NET, "arch": {"kind": "small_resnet", "width": 8}, "schedule": "one_cycle"},
    "timm resnet": {**NET, "arch": "timm/test_resnet", "size": 32, "epochs": 10},
    "timm transformer": {**NET, "arch": "timm/test_vit_relpos", "size": 32, "lr": 0.02},
    "torchvision": {**NET, "arch": "torchvision/shufflenet_v2_x0_5", "size": 32, "lr": 0.02, "epochs": 20},
}

IMAGES_ONLY = {"cnn", "resnet", "timm resnet", "timm transformer", "torchvision"}
"""Configurations that take no tables."""

TABLES_ONLY = {"embedded numbers", "tabm"}
"""Configurations that are meant for tables; `tabm` takes no images."""

WITHOUT_CHANCE = {"svm", "svm with a temperature", "logistic", "neighbours", "naive bayes"}
"""Configurations whose results do not depend on the seed."""


def is_installed(name: str) -> bool:
    """Whether the package is there that a kind of the extra `boosting` needs."""
    return CONFIGURATIONS[name]["kind"] != "xgboost" or importlib.util.find_spec("xgboost") is not None


def configurations(*, images: bool = True, tables: bool = True) -> list[Any]:
    """The names of the configurations for images or tables for `pytest`, skipped where their package is missing."""
    reason = "pip install 'quorate[boosting]'"
    return [
        pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=reason))
        for name in CONFIGURATIONS
        if (images and name not in TABLES_ONLY) or (tables and name not in IMAGES_ONLY)
    ]


def trained(
    configuration: Mapping[str, Any], train: Dataset, valid: Dataset, *, run: PlainRun | None = None, seed: int = 1
) -> Member:
    """A member of that configuration, with the numerics that a plan would give it."""
    kind = MEMBERS.get(configuration["kind"])
    params = kind.Params.model_validate(configuration)
    member: Member = kind(params, signature=train.signature, n_classes=train.n_classes)
    used = run if run is not None else PlainRun(seed)
    used.numerics = kind.numerics(params, signature=train.signature, rows=len(train), hardware=LAPTOP)
    return member.fit(train, valid, used)
