"""The importance of each parameter of a search, by PED-ANOVA (Watanabe et al., 2023; Optuna's implementation).

PED-ANOVA compares the values of the best trials with those of all trials. It only uses the order of the losses, so a
trial that was stopped counts as worse than every complete one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from quorate.runs.search_record import ParameterRecord, SearchRecord, TrialRecord

BEST_PART, LEAST_BEST, LEAST_TRIALS = 0.1, 5, 10
"""The best trials are a tenth of all (Optuna's default), but at least 5, which Optuna recommends. With fewer than 10
trials, there is no importance (an assumption)."""
LEAST_WITH, LEAST_BEST_WITH = 2, 3
"""Number of trials with a parameter below which Optuna leaves it out, and number of the best trials with it below which
its importance is uncertain (an assumption)."""


@dataclass(frozen=True)
class Importance:
    """The importance of parameters by their names, the largest first; the sum is 1."""

    values: Mapping[str, float]
    trials: int = 0
    """Number of trials that were used."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Number of these that have each parameter."""
    best: int = 0
    """Number of trials that count as the best ones."""
    rare: frozenset[str] = frozenset()
    """The parameters whose importance is uncertain, because few of the best trials have them."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """The parameters that could not be evaluated, each with the reason."""
    outside: int = 0
    """Number of trials that were not used, because the space does not contain their values."""
    problem: str = ""
    """Why there is no importance; empty if there is."""


def importance_of(record: SearchRecord) -> Importance:
    """The importance of the parameters of a search."""
    known = [one for one in record.trials if one.loss is not None and one.state in ("complete", "stopped")]
    used = [one for one in known if _is_inside(record, one)]
    outside, complete = len(known) - len(used), sum(one.state == "complete" for one in used)
    best = max(math.ceil(BEST_PART * len(used)), LEAST_BEST)
    if len(used) < LEAST_TRIALS or complete < best:
        return Importance(
            {},
            problem=f"The importance requires at least {LEAST_TRIALS} trials, and {best} complete ones; the search has "
            f"{len(used)} with a loss, and {complete} complete ones.",
        )
    counts = _counts(record, used)
    left_out = {
        name: f"{'one trial has' if count else 'no trial has'} it"
        for name, count in counts.items()
        if count < LEAST_WITH
    }
    names = [one.name for one in record.parameters if one.name not in left_out]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in `left_out`
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        quantile = (best - 0.5) / len(used)  # Optuna rounds it up to a number of trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        values = get_param_importances(_study(record.parameters, used), evaluator=evaluator, params=names)
    if not sum(values.values()):
        return Importance({}, problem="The values of the best trials do not differ from those of the others.")
    top = sorted((one for one in used if one.state == "complete"), key=lambda one: one.loss or 0.0)[:best]
    rare = frozenset(name for name, count in _counts(record, top).items() if count < LEAST_BEST_WITH)
    return Importance(values, len(used), counts, best, rare & set(names), left_out, outside)


def _counts(record: SearchRecord, trials: Sequence[TrialRecord]) -> dict[str, int]:
    """The number of trials that have each parameter."""
    return {one.name: [one.applies(trial.values) for trial in trials].count(True) for one in record.parameters}


def _is_inside(record: SearchRecord, trial: TrialRecord) -> bool:
    own = [one for one in record.parameters if one.applies(trial.values)]
    return all(one.contains(trial.values[one.path]) for one in own)


def _study(parameters: Sequence[ParameterRecord], trials: Sequence[TrialRecord]) -> optuna.Study:
    study = optuna.create_study(direction="minimize")
    worst = max(one.loss for one in trials if one.state == "complete" and one.loss is not None)
    for trial in trials:
        own = [one for one in parameters if one.applies(trial.values)]
        loss = trial.loss if trial.state == "complete" else worst + 1
        study.add_trial(
            optuna.create_trial(
                params={one.name: _encoded(one, trial.values[one.path]) for one in own},
                distributions={one.name: _distribution(one) for one in own},
                value=loss,
            )
        )
    return study


def _distribution(one: ParameterRecord) -> BaseDistribution:
    if one.low is None or one.high is None:
        return CategoricalDistribution(tuple(range(len(one.values))))
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _encoded(one: ParameterRecord, value: Any) -> Any:
    """A value as Optuna knows it: choices by their positions, because it takes plain values only."""
    return one.values.index(value) if one.low is None else value
