"""Diagnose a run from its errors on training, validation and test rows; each rule is a pure function.

The order follows Ng (Machine Learning Yearning, 2018): errors on training rows (bias), on validation rows (variance),
and on rows from another source (mismatch). A difference whose interval contains 0 counts as noise, not as a problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from quorate.ensemble.intervals import wilson, wilson_of_groups
from quorate.ensemble.paired import Z, standard_error
from quorate.report.curve_findings import Curves, read_curves
from quorate.report.remedies import MemberTraits, against_bias, against_spread, against_variance

LEAST = {"error": 0.005, "loss": 0.01}
"""Gaps below this (0.5 % of the rows, 0.01 nats) are ignored, even if they are significant. Assumptions, not
measurements."""


@dataclass(frozen=True)
class Estimate:
    """A mean error (0 is best) with its 95 % confidence interval; `rows` is 0 for exact values."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measured errors of the ensemble or of one member."""

    name: str
    measure: str
    """`error`, the fraction of misclassified rows, or `loss`, in nats."""
    target: Estimate
    train: Estimate | None = None
    train_note: str = ""
    """The reason why `train` was not measured with the final weights and without augmentation; empty if it was."""
    valid: Estimate | None = None
    train_dev: Estimate | None = None
    test: Estimate | None = None
    folds: tuple[tuple[float, float], ...] = ()
    """(rows, error) of each fold on its validation rows, if the measure is `error`."""
    curves: Curves | None = None
    recipe: MemberTraits = field(default_factory=MemberTraits)
    """The properties that advice depends on."""


@dataclass(frozen=True)
class Finding:
    """The result of one rule; `gap` is the difference that it is based on."""

    rule: str
    problem: bool
    gap: Estimate | None
    sentence: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def error_rate(wrong: int, rows: int) -> Estimate:
    """The fraction of misclassified rows, with Wilson's confidence interval."""
    return Estimate(wrong / rows, *wilson(wrong, rows), rows)


def error_rate_of_groups(wrong: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Estimate:
    """The fraction of `wrong` rows (N,), with Wilson's confidence interval for the effective number of rows, given
    `groups` (N,)."""
    return Estimate(float(wrong.mean()), *wilson_of_groups(wrong, groups), len(wrong))


def mean_loss(losses: NDArray[np.float64], groups: NDArray[np.int64] | None = None) -> Estimate:
    """The mean of the rows' losses, with a normal-approximation confidence interval; `groups` (N,) give cluster-robust
    standard errors."""
    half = Z * standard_error(losses, groups=groups)
    value = float(losses.mean())
    return Estimate(value, value - half, value + half, len(losses))


def exactly(value: float) -> Estimate:
    """An exact number, such as a target."""
    return Estimate(value, value, value, 0)


def minus(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two estimates from different rows; the interval combines theirs (Newcombe, 1998, method 10)."""
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, value - low, value + high, min(a.rows or b.rows, b.rows or a.rows))


def bias(e: Evidence) -> Finding | None:
    """Training error minus the target."""
    if e.train is None:
        return None
    return _gap("bias", e, minus(e.train, e.target), "training", "the target", against_bias(e.recipe))


def variance(e: Evidence) -> Finding | None:
    """Validation error minus training error."""
    if e.train is None or e.valid is None:
        return None
    base, against = _above(e, e.train, "training")
    return _gap("variance", e, minus(e.valid, base), "validation", against, against_variance(e.recipe))


def selection(e: Evidence) -> Finding | None:
    """Train-dev error minus validation error. Early stopping and weights were chosen on the validation rows."""
    if e.train_dev is None or e.valid is None:
        return None
    advice = "choices overfit the validation rows: use more validation rows (folds, repeats), or make fewer choices"
    base, against = _above(e, e.valid, "validation")
    return _gap("selection", e, minus(e.train_dev, base), "train-dev", against, advice)


def mismatch(e: Evidence) -> Finding | None:
    """Test error minus the error on rows from the source of the training rows: train-dev rows if available, otherwise
    validation rows."""
    like = e.train_dev or e.valid
    if e.test is None or like is None:
        return None
    advice = (
        "training and test rows differ: look at the mistakes (`quorate evaluate`), and train on rows like the test rows"
    )
    if e.train_dev is None:
        advice += "; or choices overfit the validation rows: `validation: {train_dev: 0.1}` distinguishes the two"
    base, against = _above(e, like, "train-dev" if e.train_dev else "validation")
    return _gap("mismatch", e, minus(e.test, base), "test", against, advice)


def spread(e: Evidence) -> Finding | None:
    """Whether the errors of the folds differ by more than chance: a chi-squared test of equal error rates at the 5 %
    level."""
    if len(e.folds) < 2:
        return None
    rows, errors = np.array(e.folds).T
    common = float((rows * errors).sum() / rows.sum())
    if not 0 < common < 1:
        return None
    statistic = float((rows * (errors - common) ** 2).sum() / (common * (1 - common)))
    differ = statistic > float(chi2.ppf(0.95, len(rows) - 1))
    sentence = f"the errors of the folds range from {_percent(errors.min())} to {_percent(errors.max())}, " + (
        "which is more than chance explains" if differ else "which chance can explain"
    )
    return Finding("spread", differ, None, sentence, against_spread(e.recipe) if differ else "")


_NEXT = {
    "still falling": "more `epochs`, or a higher `lr`",
    "overfitting": "`early_stopping`, which restores the best epoch; then follow the advice against variance",
    "unsteady": "a lower `lr`, a larger `batch_size`, or a schedule that ends with a low learning rate",
    "not learning": "`quorate lr-find`, then `quorate overfit`",
}
"""Advice for each finding on learning curves; only networks have such curves."""


def training(e: Evidence) -> Finding | None:
    """The finding on the learning curves."""
    if e.curves is None or e.curves.epochs < 2:
        return None
    said = read_curves(e.curves)
    return Finding("training", said.problem, None, said.sentence, _NEXT.get(said.name, ""))


RULES: tuple[Callable[[Evidence], Finding | None], ...] = (bias, variance, selection, mismatch, training, spread)


def diagnose(evidence: Evidence) -> list[Finding]:
    """The findings of all rules, in their order."""
    return [found for rule in RULES if (found := rule(evidence)) is not None]


def first_to_do(findings: Sequence[Finding]) -> Finding | None:
    """The finding to act on first: a problem of training itself, because gaps mean little until it is fixed; otherwise
    the largest gap."""
    problems = [found for found in findings if found.problem]
    own = next((found for found in problems if found.rule == "training"), None)
    return own or max(problems, key=lambda found: found.gap.value if found.gap else 0.0, default=None)


def format_estimate(estimate: Estimate, measure: str, *, signed: bool = False) -> str:
    """Format an estimate as `1.25 % (0.60 to 2.31)`, or in nats; differences of error rates are in percentage
    points."""
    scale, digits = (100, 2) if measure == "error" else (1, 3)
    value, low, high = (
        f"{scale * number:{'+' if signed else ''}z.{digits}f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    unit = "" if measure == "loss" else " points" if signed else " %"
    return f"{value}{unit}" + (f" ({low} to {high})" if estimate.rows else "")


def _gap(rule: str, e: Evidence, gap: Estimate, of: str, against: str, advice: str) -> Finding:
    what = f"{of} {e.measure} minus {against}: {format_estimate(gap, e.measure, signed=True)}"
    least = LEAST[e.measure]
    if gap.low > 0 and gap.value >= least:
        return Finding(rule, True, gap, what, advice)
    if gap.low <= 0 <= gap.high:
        return Finding(rule, False, gap, f"{what}, within the noise")
    return Finding(rule, False, gap, f"{what}, {'too small to matter' if gap.value > 0 else 'which is not a problem'}")


def _above(e: Evidence, estimate: Estimate, name: str) -> tuple[Estimate, str]:
    """The reference for an error: another error, or the target if that other error is below the target."""
    return (estimate, name) if estimate.value >= e.target.value else (e.target, "the target")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
