"""The trials that a search chooses, with honest estimates of their losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.trial_choice import Rule, TrialChoice, best_trial, evaluated, greedy_trials, top_trials
from quorate.plan.identity import derive_seed
from quorate.plan.tasks import JobData
from quorate.runs.search_record import ChoiceRecord
from quorate.search.ladder import Step
from quorate.search.scores import OofScore
from quorate.search.search import Search
from quorate.spec import Job
from quorate.spec.search import SearchSpec


def choices_of(
    job: Job, search: Search, steps: Sequence[Step], score: OofScore, data: JobData, spec: SearchSpec
) -> tuple[ChoiceRecord, ...]:
    """The best trial, and the trials of the ensemble, with honest estimates."""
    complete = [trial for trial in search.trials if trial.state == "complete"]
    if not complete:
        return ()
    found = [score.predictions(ends) for trial in complete if (ends := trial.reached(steps[-1])) is not None]
    rows = found[0][1]
    proba, y = np.stack([one[rows] for one, _ in found]), data.train.y[rows]
    combiner = combiner_of(job.spec.combiner)
    rules: dict[str, Rule] = {"best": best_trial(spec.metric)}
    if spec.ensemble is not None and len(complete) > 1:
        number = min(spec.ensemble, len(complete))
        rules |= {
            f"greedy {spec.ensemble}": greedy_trials(number, spec.metric, combiner),
            f"top {spec.ensemble}": top_trials(number, spec.metric, combiner),
        }
    seed = derive_seed(job.spec.seed, "search", "choice")
    dependence = Dependence(data.train.groups, data.train.time).take(rows)
    made = {
        rule: evaluated(fit, proba=proba, y=y, objective=spec.metric, seed=seed, dependence=dependence)
        for rule, fit in rules.items()
    }
    return tuple(_choice(rule, one, [trial.name for trial in complete]) for rule, one in made.items())


def _choice(rule: str, made: TrialChoice, names: Sequence[str]) -> ChoiceRecord:
    return ChoiceRecord(
        rule=rule,
        trials=tuple(names[t] for t in made.chosen),
        weights=tuple(round(float(made.combination.weights[t]), 4) for t in made.chosen),
        loss=made.loss,
        honest_loss=made.honest_loss,
        honest_error=made.honest_error,
    )
