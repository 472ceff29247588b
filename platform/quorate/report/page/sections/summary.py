"""The summary section: metrics with intervals, and the comparison with the best member."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.ablation import EnsembleChange
from quorate.ensemble.intervals import Figure, figures
from quorate.ensemble.paired import Z
from quorate.report.page.run import RunData, Split
from quorate.report.page.section import Remark, Section, act, good, many, note, percent, signed
from quorate.report.page.values import BestMember, Values, clear
from quorate.runs.leaderboard import SplitName

RESAMPLED = 10_000_000
"""Maximum number of rows that all bootstrap resamples draw together, to limit the time. An assumption, not a
measurement."""
TITLES = {
    "accuracy": "Accuracy",
    "nll": "Log-loss (NLL)",
    "ece": "Calibration (ECE)",
    "brier": "Brier score",
    "roc_auc": "Area under ROC",
    "average_precision": "Average precision",
}


@dataclass(frozen=True)
class EnsembleGain:
    """The ensemble compared with its best member on one split."""

    split: str
    nll: EnsembleChange
    verdict: str


def section(run: RunData, values: Values) -> Section:
    found = {split.name: _figures(split) for split in run.splits}
    measured = [
        {"title": title, "of": [found[split.name].get(name) for split in run.splits], "name": name}
        for name, title in TITLES.items()
        if name in found["oof"]
    ]
    leads = [EnsembleGain("out-of-fold rows", values.best.lead, _verdict(values.best.lead, lower=True))]
    if values.best.test_lead is not None:
        leads.append(EnsembleGain("test rows", values.best.test_lead, _verdict(values.best.test_lead, lower=True)))
    alone = run.label(values.best.place)
    return Section(
        "summary",
        "In short",
        "Each training row is predicted by models that were trained without it (out of fold), and the combiner was "
        "fitted without it (cross-fitted). The range below a metric is its 95 % confidence interval.",
        [*_remarks(run, values, found), *_from_board(run)],
        {
            "measured": measured,
            "splits": run.splits,
            "leads": leads,
            "best": values.best,
            "alone": alone,
            "is_that_member": _is_alone(run),
        },
    )


def _figures(split: Split) -> dict[str, Figure]:
    resamples = int(min(max(RESAMPLED / len(split), 200), 1000))
    return figures(split.ensemble, split.y, groups=split.dependence.groups, resamples=resamples)


def _is_alone(run: RunData) -> bool:
    return int((run.weights > 0).sum()) == 1


def _verdict(change: EnsembleChange, *, lower: bool) -> str:
    if not clear(change.nll, change.nll_error):
        return "no clear difference"
    return "the ensemble is better" if (change.nll < 0) == lower else "the member is better"


def _remarks(run: RunData, values: Values, found: Mapping[SplitName, dict[str, Figure]]) -> list[Remark]:
    alone, best = run.label(values.best.place), values.best
    if len(run.names) == 1:
        said = [note(f"The job has only one member, {alone}, so there is nothing to combine.")]
    elif _is_alone(run) and run.board.ensemble.note:
        said = []  # not repeated here: the leaderboard's note gives the same information with numbers
    elif _is_alone(run):
        only = run.names[int(run.weights.argmax())]
        said = [note(f"The ensemble is {only} alone: no combination had a lower cross-fitted loss.")]
    else:
        said = [_against(alone, best)]
    return [*_against_guessing(run, found["oof"]["accuracy"]), *said, *_between_splits(run, found)]


def _against(alone: str, best: BestMember) -> Remark:
    change, test = best.lead, best.test_lead
    low, high = change.nll - Z * change.nll_error, change.nll + Z * change.nll_error
    if not math.isfinite(change.nll_error):
        return note(
            f"It is unknown whether the ensemble beats its best member, {alone}: all rows belong to one "
            f"group, so the variation between groups is unknown (difference of the log-loss {signed(change.nll)})."
        )
    interval = f"difference {signed(change.nll)}, 95 % interval {signed(low)} to {signed(high)}"
    if not clear(change.nll, change.nll_error):
        return note(
            f"These rows do not show whether the ensemble beats its best member, {alone}: the interval of the "
            f"log-loss contains 0 ({interval}). The member alone is simpler and cheaper."
        )
    if change.nll > 0:
        return act(f"The best member, {alone}, has a lower log-loss than the ensemble ({interval}): use it alone.")
    confirmed = ""
    if test is not None:
        same = clear(test.nll, test.nll_error) and test.nll < 0
        confirmed = "; the test rows confirm it" if same else "; the test rows do not confirm it"
    return good(f"The ensemble has a lower log-loss than its best member, {alone} ({interval}){confirmed}.")


def _between_splits(run: RunData, found: Mapping[SplitName, dict[str, Figure]]) -> list[Remark]:
    """Compare the metrics on test rows with those on training rows; intervals that do not overlap indicate a
    difference."""
    if run.test is None:
        return [note("There are no test rows, so the out-of-fold metrics are the best estimate.")]
    oof, test = found["oof"]["accuracy"], found["test"]["accuracy"]
    assert oof.value is not None and test.value is not None and oof.low is not None and test.high is not None
    assert oof.high is not None and test.low is not None
    values = f"The accuracy is {percent(test.value)} on the test rows and {percent(oof.value)} on the out-of-fold rows"
    if test.high < oof.low:
        return [
            act(
                f"{values}, and the intervals do not overlap: the test rows differ from the training rows. Compare "
                "both."
            )
        ]
    if test.low > oof.high:
        return [
            note(f"{values}: the test rows are easier, or averaging the models of all folds improves the ensemble.")
        ]
    return [good(f"{values}: they agree within their intervals.")]


def _from_board(run: RunData) -> list[Remark]:
    said = []
    if run.board.ensemble.note:
        said.append(note(_sentence(run.board.ensemble.note)))
    said += [act(_sentence(each.note)) for each in run.board.unlearnable]
    budget = run.board.budget
    if budget and (budget.out_of_time or budget.stopped_early):
        late = many(len(budget.out_of_time), "fit task")
        early = many(len(budget.stopped_early), "fit task")
        said.append(
            act(
                f"The budget of {budget.seconds:.0f} s left out {late} and stopped {early} early; start "
                "the same job with more time to continue."
            )
        )
    if budget and (below := budget.below_quorum):
        there = many(below.members, "member")
        said.append(act(f"Only {there} had a finished fold when the budget ended; the quorum is {below.needed}."))
    return said


def _sentence(words: str) -> str:
    whole = words[0].upper() + words[1:]
    return whole if whole.endswith(".") else f"{whole}."


def _against_guessing(run: RunData, accuracy: Figure) -> list[Remark]:
    """Compare the ensemble with a constant prediction of the most frequent class."""
    guessed = int(np.bincount(run.oof.y).max()) / len(run.oof)
    if accuracy.low is None or accuracy.low > guessed:
        return []
    return [
        act(
            f"Always predicting the most frequent class is right in {percent(guessed)} of the rows, and the ensemble "
            "is not clearly better. Check the data, the labels and the learning curves."
        )
    ]
