"""Quantify the uncertainty of predictions: entropies, conformal sets, and rows to leave to a human."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle
from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.conformal import Conformal
from quorate.errors import UserError
from quorate.scoring.score import ScoredRows

T = TypeVar("T", Conformal, RiskCoverage)

SHOWN = 10
"""Maximum number of classes in a sentence."""
ENTROPIES = ("entropy", "aleatoric", "epistemic", "variation_ratio")


@dataclass(frozen=True)
class UncertaintyOptions:
    """What to compute besides the probabilities."""

    uncertainty: bool = False
    """Whether to compute entropies and the variation ratio."""
    coverage: float | None = None
    """Fraction of the rows whose conformal set must contain the true class."""
    by_class: bool = False
    """Whether this coverage must hold for the rows of each class separately."""
    max_error: float | None = None
    """Maximum error rate on the answered rows, which are the most confident ones."""

    def check(self) -> None:
        """Raise `UserError` for invalid options."""
        for option, value in (("--coverage", self.coverage), ("--max-error", self.max_error)):
            if value is not None and not 0 < value < 1:
                raise UserError(f"{option} {value:g}: the value must be between 0 and 1, such as 0.9 or 0.05")
        if self.by_class and self.coverage is None:
            raise UserError("--by-class applies to sets of classes; add --coverage, such as --coverage 0.9")


def uncertainty_figures(
    answers: ScoredRows, bundle: Bundle, asked: UncertaintyOptions
) -> tuple[pd.DataFrame, list[str]]:
    """Return additional columns of the scores, one row per input, and notes on them.

    Raises `UserError` if the bundle lacks the statistics that they require.
    """
    found: dict[str, NDArray[np.generic] | list[str]] = {}
    notes: list[str] = []
    if asked.uncertainty:
        assert answers.uncertainty is not None, "requested with the answers"
        found |= {name: getattr(answers.uncertainty, name) for name in ENTROPIES}
    if asked.coverage is not None:
        sets = sets_of(answers.proba, bundle, asked)
        names = np.array(bundle.class_names)
        found["set"] = [json.dumps(names[row].tolist(), ensure_ascii=False) for row in sets]
        which = "the rows of each class" if asked.by_class else "rows"
        conformal = _needed(bundle.conformal, bundle)
        low, high = conformal.coverage_range(coverage=asked.coverage, by_class=asked.by_class)
        few = " (of the rarest class)" if asked.by_class else ""
        notes.append(
            f"the sets contain the true class for {_percent(asked.coverage)} of {which} if these rows are like the "
            f"training rows; with {len(conformal.true):,} calibration rows, expect {low:.1%} to {high:.1%}{few}. "
            f"A set contains {sets.sum(axis=1).mean():.2f} classes on average; {(sets.sum(axis=1) == 1).mean():.0%} of "
            "the sets contain one class"
        )
        if (always := names[_always_in(bundle, asked)]).size:
            said = ", ".join(always[:SHOWN]) + (f" and {len(always) - SHOWN} more" if len(always) > SHOWN else "")
            notes.append(f"classes in every set, because they have too few calibration rows: {said}")
    if asked.max_error is not None:
        curve = _needed(bundle.risk_coverage, bundle)
        confidence = curve.confidence_for(asked.max_error)
        found["answered"] = answered = _answered(answers.proba, confidence)
        notes.append(_answered_note(curve, confidence, asked.max_error, float(answered.mean())))
    return pd.DataFrame(found, index=range(len(answers.names))), notes


def sets_of(proba: NDArray[np.float64], bundle: Bundle, asked: UncertaintyOptions) -> NDArray[np.bool_]:
    """Return a mask (n, K) of the classes in the conformal set of each row of `proba`; raises `UserError`."""
    assert asked.coverage is not None, "asked for"
    return _needed(bundle.conformal, bundle).sets(proba, coverage=asked.coverage, by_class=asked.by_class)


def _always_in(bundle: Bundle, asked: UncertaintyOptions) -> NDArray[np.bool_]:
    """Return a mask (K,) of the classes that are in every set."""
    assert asked.coverage is not None, "asked for"
    thresholds = _needed(bundle.conformal, bundle).thresholds(
        coverage=asked.coverage, n_classes=len(bundle.class_names), by_class=asked.by_class
    )
    return np.asarray(thresholds == 0)


def _percent(share: float) -> str:
    return f"{100 * share:.6g}%"


def _answered(proba: NDArray[np.float64], confidence: float | None) -> NDArray[np.bool_]:
    if confidence is None:
        return np.zeros(len(proba), dtype=bool)
    return np.asarray(proba.max(axis=1) >= confidence)


def _answered_note(curve: RiskCoverage, confidence: float | None, max_error: float, here: float) -> str:
    if confidence is None:
        return f"no confidence threshold gives an error rate of at most {max_error:.2%}, so no row is answered"
    share, risk = curve.at(confidence)
    return (
        f"rows with a confidence of at least {confidence:.4f} are answered: {here:.0%} of these rows. This confidence "
        f"is reached by {share:.0%} of the out-of-fold predictions, with an error rate of {risk:.2%}"
    )


def _needed(part: T | None, bundle: Bundle) -> T:
    if part is None:
        raise UserError(
            f"the bundle of {bundle.manifest.run} has no out-of-fold statistics, which --coverage and --max-error "
            "require; use the ensemble that it was made from, or train its job again"
        )
    return part
