"""The uncertainty of predictions for files, compared with the same figures computed from the members."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.datasets import load_digits
from tests.cli.conftest import InFolder

import quorate
from quorate.bundle import UNSEEN, Bundle
from quorate.errors import UserError
from quorate.scoring.uncertainty import UncertaintyOptions


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = load_digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=(found.images * 255 / 16).astype(np.uint8), labels=found.target)
    return path


def scores(quorate_in: InFolder, folder: Path, *arguments: str) -> tuple[pd.DataFrame, str]:
    code, _, said = quorate_in(folder, "predict", *arguments, "-o", "scores.csv")
    assert code == 0, said
    return pd.read_csv(folder / "scores.csv"), said


def test_entropies_are_those_of_the_calibrated_members(
    quorate_in: InFolder,
    tiny_bundle: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    found, _ = scores(quorate_in, tmp_path, str(digits), "--run", str(tiny_bundle), "-u")

    bundle = Bundle.load(tiny_bundle)
    images = np.load(digits)["images"][..., None]
    members = bundle.predict(images, members=True).members or {}
    combination = bundle._combination
    calibrated = [one.apply(proba) for one, proba in zip(combination.calibrations, members.values(), strict=True)]
    mean = np.tensordot(combination.weights, calibrated, axes=1)
    own = np.tensordot(combination.weights, [entropy(proba, axis=1) for proba in calibrated], axes=1)
    np.testing.assert_allclose(found["entropy"], entropy(mean, axis=1), atol=1e-6)
    np.testing.assert_allclose(found["aleatoric"], own, atol=1e-6)
    np.testing.assert_allclose(found["epistemic"], entropy(mean, axis=1) - own, atol=1e-6)
    assert found["variation_ratio"].between(0, 1).all()


@pytest.mark.parametrize("more", [[], ["--by-class"]])
def test_conformal_sets_contain_the_true_class_at_the_requested_rate(
    more: list[str],
    quorate_in: InFolder,
    tiny_bundle: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    found, said = scores(quorate_in, tmp_path, str(digits), "--run", str(tiny_bundle), "--coverage", "0.9", *more)

    true = np.load(digits)["labels"].astype(str)
    covered = [label in json.loads(chosen) for label, chosen in zip(true, found["set"], strict=True)]
    assert np.mean(covered) >= 0.88
    of = "the rows of each class" if more else "rows"
    assert f"the sets contain the true class for 90% of {of} if these rows are like the training rows" in said
    assert re.search(r"calibration rows, expect \d+\.\d% to \d+\.\d%", said)
    assert "classes in every set" not in said


def test_classes_that_no_set_can_leave_out_are_named(
    quorate_in: InFolder, tiny_bundle: Path, digits: Path, tmp_path: Path
) -> None:
    asked = [str(digits), "--run", str(tiny_bundle), "--coverage", "0.995", "--by-class"]

    found, said = scores(quorate_in, tmp_path, *asked)

    # 40 rows of each class: the first coverage that they cannot promise is 40 / 41
    assert "sets contain the true class for 99.5% of the rows of each class" in said
    assert "classes in every set, because they have too few calibration rows: 0, 1, 2, 3" in said
    assert all(len(json.loads(chosen)) == 10 for chosen in found["set"])


def test_the_confidence_threshold_meets_the_requested_error_rate(
    quorate_in: InFolder,
    tiny_bundle: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    found, said = scores(quorate_in, tmp_path, str(digits), "--run", str(tiny_bundle), "--max-error", "0.01")

    with np.load(tiny_bundle / UNSEEN) as unseen:
        confidence, right = unseen["confidence"], unseen["right"]
    most = found[[column for column in found if column.startswith("p(")]].max(axis=1)
    threshold = most[found["answered"]].min()
    assert most[~found["answered"]].max() < threshold
    assert (~right[confidence >= threshold]).mean() <= 0.01
    assert "with a confidence of" in said


def test_an_archive_of_scores_has_the_same_columns(
    quorate_in: InFolder,
    tiny_bundle: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    asked = ["predict", str(digits), "--run", str(tiny_bundle), "-u", "--coverage", "0.9", "--max-error", "0.5"]

    assert quorate_in(tmp_path, *asked, "-o", "s.npz")[0] == 0

    with np.load(tmp_path / "s.npz", allow_pickle=False) as found:
        assert found["entropy"].shape == found["set"].shape == found["answered"].shape == (1797,)
        assert found["answered"].dtype == bool


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--coverage", "90"], "--coverage 90: the value must be between 0 and 1"),
        (["--max-error", "0"], "--max-error 0: the value must be between 0 and 1"),
        (["--by-class"], "--by-class applies to sets of classes; add --coverage"),
    ],
)
def test_invalid_fractions_are_refused(
    given: list[str],
    words: str,
    quorate_in: InFolder,
    tiny_bundle: Path,
    digits: Path,
    tmp_path: Path,
) -> None:
    code, _, said = quorate_in(tmp_path, "predict", str(digits), "--run", str(tiny_bundle), *given)

    assert code == 2
    assert words in said


def test_python_programs_get_uncertainty_and_conformal_sets_too(tiny_bundle: Path, digits: Path) -> None:
    ensemble, images = quorate.load(tiny_bundle), np.load(digits)["images"]

    uncertainty, sets = ensemble.predict_uncertainty(images[:50]), ensemble.predict_sets(images, coverage=0.95)

    assert list(uncertainty) == ["entropy", "aleatoric", "epistemic", "variation_ratio"] and len(uncertainty) == 50
    assert sets[np.arange(1797), np.load(digits)["labels"]].mean() >= 0.94
    with pytest.raises(UserError, match="must be between 0 and 1"):
        ensemble.predict_sets(images[:2], coverage=2)


def test_a_bundle_without_unseen_rows_says_so(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    bundle._unseen = None

    with pytest.raises(UserError, match=r"has no out-of-fold statistics, .* use the ensemble"):
        quorate.scoring.uncertainty.sets_of(np.eye(10), bundle, UncertaintyOptions(coverage=0.9))
