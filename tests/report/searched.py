"""Synthetic searches, to test their report."""

from __future__ import annotations

import math
import random
from typing import Any

from quorate.report.curve_findings import Curves
from quorate.report.page.run import Reproduction
from quorate.report.search_page.data import SearchData
from quorate.runs.search_record import ChoiceRecord, ParameterRecord, SearchRecord, StepRecord, TrialRecord

PARAMETERS = (
    ParameterRecord(name="lr", path="lr", low=1e-4, high=1.0, log=True),
    ParameterRecord(name="dropout", path="dropout", low=0.0, high=0.6),
    ParameterRecord(name="batch_size", path="batch_size", values=(16, 64, 256)),
    ParameterRecord(name="schedule", path="schedule", values=("constant", "step")),
    ParameterRecord(
        name="schedule[step].every",
        path="schedule.every",
        conditions=(("schedule", "step"),),
        low=2,
        high=8,
        whole=True,
    ),
)
STEPS = ((1, 0.25), (1, 1.0), (3, 1.0))


def searched(
    *,
    trials: int = 40,
    stopped: bool = True,
    ended: str = "the search had all trials",
    metric: str = "nll",
    **changes: Any,
) -> SearchRecord:
    """A search of a network whose loss depends on its learning rate only; every third trial is stopped."""
    generator = random.Random(0)
    found = [_trial(number, generator, stopped=stopped) for number in range(1, trials + 1)]
    best = min((one for one in found if one.state == "complete"), key=lambda one: one.loss or 0.0, default=None)
    record = SearchRecord(
        run="small-tune-net-1",
        job="small-tune-net",
        member="net",
        kind="net",
        settings={"trials": trials, "method": "tpe", "scheduler": "asha" if stopped else "none", "space": {}},
        parameters=PARAMETERS,
        metric=metric,
        folds=3,
        steps=STEPS,
        seconds=100.0,
        ended=ended,
        trials=tuple(found),
        choices=(
            ChoiceRecord(
                rule="best", trials=(best.name,), weights=(1.0,), loss=best.loss, honest_loss=0.5, honest_error=0.02
            ),
        )
        if best is not None
        else (),
    )
    return record.model_copy(update=changes)


def data_of(record: SearchRecord) -> SearchData:
    """With learning curves of every trial with a loss."""
    curves = {
        one.name: Curves(
            tuple([{"valid_loss": (one.loss or 0) + 1 / epoch} for epoch in range(1, 5)] for _ in range(2))
        )
        for one in record.trials
        if one.loss is not None
    }
    return SearchData(record, Reproduction("name: small\n", ("quorate tune job.yaml net",), (("seed", "0"),)), curves)


def _trial(number: int, generator: random.Random, *, stopped: bool) -> TrialRecord:
    values: dict[str, Any] = {
        "lr": float(f"{10 ** generator.uniform(-4, 0):.4g}"),
        "dropout": round(generator.uniform(0, 0.6), 3),
        "batch_size": generator.choice((16, 64, 256)),
        "schedule": generator.choice(("constant", "step")),
    }
    if values["schedule"] == "step":
        values["schedule.every"] = generator.randint(2, 8)
    loss = 0.2 + abs(math.log10(values["lr"]) + 2)
    early = stopped and number % 3 == 0
    reached = STEPS[:1] if early else STEPS
    return TrialRecord(
        number=number,
        name="net" if number == 1 else f"net-{number}",
        source="written" if number == 1 else "portfolio: mlp" if number == 2 else "tpe",
        state="stopped" if early else "complete",
        values=values,
        member={"kind": "net"},
        folds=reached[-1][0],
        epochs=4,
        seconds=2.0,
        ended=2.5 * number,
        loss=loss,
        steps=tuple(
            StepRecord(folds=folds, part=part, loss=loss, fold_losses=(loss,) * folds) for folds, part in reached
        ),
    )
