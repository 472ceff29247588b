"""Rules on errors: intervals follow their formulas, the right problem is named, and noise is not a problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from quorate.report.advice import as_json, as_lines, diagnoses
from quorate.report.curve_findings import Curves
from quorate.report.diagnosis import (
    Estimate,
    Evidence,
    Finding,
    diagnose,
    error_rate,
    exactly,
    first_to_do,
    format_estimate,
    mean_loss,
    minus,
    spread,
)


def evidence(target: float = 0.0, **wrong: tuple[int, int]) -> Evidence:
    """Errors as (wrong rows, rows)."""
    given = {name: error_rate(*counts) for name, counts in wrong.items()}
    return Evidence("cnn", "error", exactly(target), **given)


def problems(found: list[Finding]) -> list[str]:
    return [finding.rule for finding in found if finding.problem]


def test_the_difference_of_shares_has_newcombes_interval() -> None:
    """Newcombe (1998), Statistics in Medicine 17, 873-890, Table II, example (a): 56/70 - 48/80."""
    difference = minus(error_rate(56, 70), error_rate(48, 80))

    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_a_mean_loss_has_the_normal_interval() -> None:
    losses = np.random.default_rng(0).exponential(size=400)

    found = mean_loss(losses)

    low, high = stats.norm.interval(0.95, losses.mean(), stats.sem(losses))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert mean_loss(np.array([1.0])).high == math.inf


@pytest.mark.parametrize(
    ("errors", "first"),
    [
        ({"train": (200, 1000), "valid": (210, 1000), "test": (205, 1000)}, "bias"),
        ({"train": (2, 1000), "valid": (150, 1000), "test": (152, 1000)}, "variance"),
        ({"train": (2, 1000), "valid": (12, 1000), "test": (200, 1000)}, "mismatch"),
        ({"train": (2, 1000), "valid": (12, 1000), "train_dev": (100, 1000), "test": (102, 1000)}, "selection"),
        ({"train": (2, 1000), "valid": (3, 1000), "test": (4, 1000)}, None),
        ({"train": (0, 60), "valid": (2, 60), "test": (3, 60)}, None),
        ({"valid": (12, 1000)}, None),
    ],
)
def test_the_largest_significant_gap_comes_first(errors: dict[str, tuple[int, int]], first: str | None) -> None:
    found = first_to_do(diagnose(evidence(**errors)))

    assert (found.rule if found else None) == first


def test_a_train_dev_split_distinguishes_mismatch_from_selection() -> None:
    errors = {"train": (5, 1000), "valid": (20, 1000), "test": (120, 1000)}

    unlike = diagnose(evidence(**errors, train_dev=(21, 1000)))
    fitted = diagnose(evidence(**errors, train_dev=(118, 1000)))
    unknown = next(finding for finding in diagnose(evidence(**errors)) if finding.rule == "mismatch")

    assert "mismatch" in problems(unlike) and "selection" not in problems(unlike)
    assert "selection" in problems(fitted) and "mismatch" not in problems(fitted)
    assert "`validation: {train_dev: 0.1}` distinguishes the two" in unknown.advice


def test_below_the_target_nothing_is_a_problem() -> None:
    errors = {"train": (2, 1000), "valid": (60, 1000), "test": (65, 1000)}

    assert problems(diagnose(evidence(0.0, **errors))) == ["variance"]
    assert problems(diagnose(evidence(0.08, **errors))) == []


def test_folds_are_compared_by_the_chi_squared_test_of_equal_shares() -> None:
    """The result is that of SciPy's test on the table of correct and wrong rows."""
    for wrong in ([10, 12, 9, 11], [2, 30, 3, 4], [10, 20, 12, 16]):
        table = np.array([[w, 200 - w] for w in wrong])
        expected = stats.chi2_contingency(table, correction=False).pvalue < 0.05

        found = spread(Evidence("a", "error", exactly(0), folds=tuple((200.0, w / 200) for w in wrong)))

        assert found is not None and found.problem == expected


def test_problems_of_training_come_before_gaps() -> None:
    falling = [{"train_loss": 2 * 0.9**i, "valid_loss": 2 * 0.9**i} for i in range(20)]
    known = evidence(train=(200, 1000), valid=(300, 1000))
    whole = Evidence("cnn", "error", known.target, train=known.train, valid=known.valid, curves=Curves((falling,)))

    first = first_to_do(diagnose(whole))

    assert first is not None and first.rule == "training"
    assert first.advice.startswith("more `epochs`")


def test_errors_are_shown_with_their_intervals() -> None:
    assert format_estimate(error_rate(5, 400), "error") == "1.25 % (0.54 to 2.89)"
    assert (
        format_estimate(Estimate(0.0125, -0.00001, 0.0289, 400), "error", signed=True)
        == "+1.25 points (+0.00 to +2.89)"
    )
    assert format_estimate(exactly(0.03), "loss") == "0.030"


def test_a_diagnosis_contains_its_evidence_as_text_and_as_json() -> None:
    whole = Evidence(
        "ensemble", "error", exactly(0.02), train=error_rate(2, 1000), valid=error_rate(150, 1000), train_note="unsure"
    )

    found = diagnoses([whole])
    said = "\n".join(str(part) for part in as_lines(found, run="r", given=True))
    tree = as_json(found, run="r", given=True)

    assert "r: error against a target of 2.00 %" in said
    assert "problem variance: validation error minus the target: +13.00 points" in said
    assert "next: more rows, copies of the best member" in said
    assert "note on ensemble: unsure" in said
    assert tree["target"] == {"measure": "error", "error": 0.02, "given": True}
    assert tree["ensemble"]["first"] == "variance"
    assert tree["ensemble"]["valid"]["rows"] == 1000
