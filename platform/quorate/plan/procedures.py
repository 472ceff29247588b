"""The tasks of commands that train a planned member in another way than its job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quorate.plan.identity import digest, identity_of
from quorate.plan.tasks import FitTask
from quorate.spec import MemberParams
from quorate.training.context import Numerics
from quorate.training.procedures import Procedure


def by_procedure(
    task: FitTask,
    procedure: Procedure | None,
    *,
    fold: int = 0,
    label: str | None = None,
    params: MemberParams | None = None,
    numerics: Numerics | None = None,
    **inputs: Any,
) -> FitTask:
    """A task that trains like `task`, but by a procedure, on the fold `fold` of its own data.

    Its key covers the key of `task`, everything that is given here, and `inputs`: JSON values that determine the data
    where these are not the rows of `task`. A procedure has one worker.
    """
    params, numerics = params or task.params, numerics or task.numerics
    key = digest(
        what="procedure",
        fit=task.key,
        params=identity_of(params),
        numerics=numerics.to_json(),
        procedure=None if procedure is None else procedure.identity(),
        **inputs,
    )
    return replace(
        task,
        key=key,
        fold=fold,
        label=label or task.label,
        params=params,
        numerics=numerics,
        resources=task.resources.of_one,
        procedure=procedure,
        others=(),
        view="",
    )
