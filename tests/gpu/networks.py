"""Networks that are trained on an accelerator, with the numerics that a plan would give them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.members.configurations import CONFIGURATIONS, TABLES_ONLY
from tests.members.plain_run import PlainRun

from quorate.data.dataset import Dataset
from quorate.execution.hardware import this_hardware
from quorate.members.base import Member
from quorate.registry import MEMBERS
from quorate.training.context import Numerics

NETWORKS = [name for name, member in CONFIGURATIONS.items() if member["kind"] == "net" and name not in TABLES_ONLY]


def member_and_numerics(configuration: Mapping[str, Any], data: Dataset, *, gpus: float = 1) -> tuple[Member, Numerics]:
    """An unfitted member that asks for `gpus` accelerators, and its numerics on this machine."""
    kind = MEMBERS.get(configuration["kind"])
    params = kind.Params.model_validate({**configuration, "gpus": gpus})
    numerics = kind.numerics(params, signature=data.signature, rows=len(data), hardware=this_hardware())
    return kind(params, signature=data.signature, n_classes=data.n_classes), numerics


def trained_there(
    configuration: Mapping[str, Any],
    train: Dataset,
    valid: Dataset,
    *,
    run: PlainRun | None = None,
    **changes: Any,
) -> Member:
    """A member that was trained on the accelerator; `changes` are fields of its numerics."""
    member, numerics = member_and_numerics(configuration, train)
    used = run if run is not None else PlainRun()
    used.numerics = replace(numerics, **changes)
    return member.fit(train, valid, used)
