"""A cheap configuration of every kind of member, and how one is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.data.dataset import Dataset
from quorate.kinds import MEMBERS
from quorate.members.base import Member

NET = {"kind": "net", "epochs": 6, "batch_size": 32, "lr": 0.05}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "svm": {"kind": "svm", "C": 10},
    "svm with a temperature": {"kind": "svm", "calibration": "temperature", "calibration_folds": 2},
    "forest": {"kind": "random_forest", "trees": 15},
    "logistic": {"kind": "logistic"},
    "mlp": {**NET, "arch": {"kind": "mlp", "hidden": [32]}, "dropout": 0.1},
    "cnn": {**NET, "arch": {"kind": "small_cnn", "width": 8}, "augment": {"crop": 1, "mirror": False}},
    "resnet": {**NET, "arch": {"kind": "small_resnet", "width": 8}, "schedule": "one_cycle"},
    "timm resnet": {**NET, "arch": "timm/test_resnet", "size": 32},
    "timm transformer": {**NET, "arch": "timm/test_vit_relpos", "size": 32, "lr": 0.02},
}

WITHOUT_CHANCE = {"svm", "svm with a temperature", "logistic"}
"""Configurations that give the same whatever the seed."""


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
