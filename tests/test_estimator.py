"""The Python API: a job as a scikit-learn classifier, and the ensemble of a finished run."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import estimator_checks
from tests.execution import odd_members  # noqa: F401  (registers a kind)

import quorate
from quorate.data.splitting import make_folds
from quorate.errors import UserError
from quorate.estimator import DEFAULT_MEMBERS, EnsembleClassifier
from quorate.job.run import JobFailed
from quorate.loading import Ensemble
from quorate.plan.identity import derive_seed
from quorate.spec import ValidationSpec

ROOT = Path(__file__).parents[1]

QUICK = {"linear": "logistic", "forest": {"kind": "random_forest", "trees": 10}}


def quick(**parameters: Any) -> EnsembleClassifier:
    """Two members that take milliseconds, two folds."""
    return EnsembleClassifier(**{"members": QUICK, "validation": {"folds": 2}, **parameters})


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    return X, y


@pytest.fixture(scope="module")
def fitted(iris: tuple[np.ndarray, np.ndarray]) -> EnsembleClassifier:
    return quick().fit(*iris)


@pytest.fixture(scope="module")
def digits_in_colour() -> tuple[np.ndarray, np.ndarray]:
    """200 digits as uint8 (n, H, W, 3)."""
    pixels, y = load_digits(return_X_y=True)
    grey = (pixels[:200].reshape(-1, 8, 8) * 15.9375).astype(np.uint8)
    return np.stack([grey, 255 - grey, grey], axis=-1), y[:200]


EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "folds are drawn over rows: a row that is given twice may be trained on in one fold and validated on in "
        "another, which a row of weight 2 is not"
    ),
}

SAMPLE = [
    "check_estimator_cloneable",
    "check_no_attributes_set_in_init",
    "check_estimators_pickle",
    "check_classifiers_one_label",
    "check_dict_unchanged",
    "check_n_features_in_after_fitting",
    "check_supervised_y_no_nan",
]


@pytest.mark.parametrize("check", SAMPLE)
def test_it_passes_a_sample_of_scikit_learns_checks(check: str) -> None:
    getattr(estimator_checks, check)("EnsembleClassifier", quick())


@pytest.mark.slow
def test_it_passes_all_of_scikit_learns_checks_but_those_that_are_expected_to_fail() -> None:
    found = estimator_checks.check_estimator(
        quick(), expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None
    )

    failed = {result["check_name"]: result["exception"] for result in found if result["status"] == "failed"}
    assert not failed
    assert {result["check_name"] for result in found if result["status"] == "xfail"} == set(EXPECTED_FAILURES)
    assert sum(result["status"] == "passed" for result in found) > 50


def test_its_probabilities_are_those_of_scikit_learns_models_of_the_same_folds_tempered(
    iris: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = iris
    ensemble = quick(members={"linear": "logistic"}, combiner="best_single").fit(X, y)

    folds = make_folds(y, ValidationSpec(folds=2), derive_seed(0, "folds"))
    models = [make_pipeline(StandardScaler(), LogisticRegression()).fit(X[f.train], y[f.train]) for f in folds.folds]
    temperature = ensemble.leaderboard_.set_index("name").loc["linear", "temperature"]
    plain = np.mean([model.predict_proba(X) for model in models], axis=0)
    tempered = plain ** (1 / temperature)

    np.testing.assert_allclose(ensemble.predict_proba(X), tempered / tempered.sum(axis=1, keepdims=True), atol=2e-4)


def test_the_leaderboard_has_the_ensemble_first_and_its_figures_are_those_of_the_out_of_fold_probabilities(
    fitted: EnsembleClassifier, iris: tuple[np.ndarray, np.ndarray]
) -> None:
    board = fitted.leaderboard_

    assert list(board["name"]) == ["ensemble", *board["name"][1:]]
    assert set(board["name"][1:]) == set(QUICK)
    assert board["oof_nll"][0] == pytest.approx(log_loss(iris[1], fitted.oof_proba_), abs=1e-5)
    assert board["oof_accuracy"][0] == pytest.approx((fitted.oof_proba_.argmax(1) == iris[1]).mean(), abs=1e-6)
    assert board["oof_nll"][1:].is_monotonic_increasing
    assert board["weight"].sum() == pytest.approx(1, abs=1e-5)
    assert "test_nll" not in board


@pytest.mark.parametrize(
    "labels", [["b", "c", "a"], [True, False], [2.0, -1.0], [30, 7, 200]], ids=["text", "truth", "floats", "whole"]
)
def test_labels_of_any_type_come_back_in_sorted_order(labels: list[Any], iris: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = iris
    rows = y < len(labels)
    named = np.array(labels)[y[rows]]

    ensemble = quick().fit(X[rows], named)

    np.testing.assert_array_equal(ensemble.classes_, np.unique(labels))
    assert ensemble.classes_.dtype == named.dtype
    assert ensemble.score(X[rows], named) > 0.9
    columns = ensemble.predict_proba(X[rows]).argmax(axis=1)
    np.testing.assert_array_equal(ensemble.classes_[columns], ensemble.predict(X[rows]))


@pytest.fixture(scope="module")
def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    """Columns of every kind, with holes; the label follows the colour and the size."""
    random = np.random.default_rng(0)
    rows = 120
    colour = random.choice(["red", "green", "blue"], rows)
    size = random.normal(size=rows)
    y = np.where((colour == "red") ^ (size > 0), "yes", "no")
    frame = pd.DataFrame({"colour": colour, "size": size, "flag": random.random(rows) > 0.5, "noise": 1.0})
    frame.loc[::9, "colour"] = None
    frame.loc[::7, "size"] = np.nan
    return frame, y


def test_a_data_frame_is_a_table_of_numbers_categories_and_truth_values(
    mixed: tuple[pd.DataFrame, np.ndarray],
) -> None:
    frame, y = mixed

    ensemble = quick(members={"forest": {"kind": "random_forest", "trees": 30}}).fit(frame, y)

    kinds = {column.name: column.kind for column in ensemble.bundle_.signature.columns}
    assert kinds == {"colour": "categorical", "size": "numeric", "flag": "boolean", "noise": "numeric"}
    assert list(ensemble.feature_names_in_) == list(frame.columns)
    assert ensemble.score(frame, y) > 0.9
    assert ensemble.score(frame.assign(colour="violet"), y) < 0.8, "the colour counts"


def test_a_data_frame_must_have_the_names_that_were_fitted_in_their_order(
    mixed: tuple[pd.DataFrame, np.ndarray],
) -> None:
    frame, y = mixed
    ensemble = quick().fit(frame, y)

    with pytest.raises(ValueError, match="feature names should match"):
        ensemble.predict(frame.rename(columns={"size": "Size"}))
    with pytest.raises(ValueError, match="in the same order"):
        ensemble.predict(frame[["size", "colour", "flag", "noise"]])
    with pytest.raises(ValueError, match=r"row 1: the numeric column 'size' holds 'large'"):
        ensemble.predict(frame.assign(size="large"))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        bare = ensemble.predict_proba(frame.to_numpy(dtype=object))
    np.testing.assert_array_equal(bare, ensemble.predict_proba(frame))


def test_grey_images_may_lack_the_axis_of_channels(digits_in_colour: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, y = digits_in_colour
    grey = pixels[..., 0]

    ensemble = quick().fit(grey, y)

    np.testing.assert_array_equal(ensemble.predict_proba(grey[..., None]), ensemble.predict_proba(grey))
    assert ensemble.n_features_in_ == 64
    assert ensemble.score(grey, y) > 0.9


def test_images_of_another_shape_or_type_are_refused(digits_in_colour: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, y = digits_in_colour
    ensemble = quick(members={"linear": "logistic"}).fit(pixels, y)

    with pytest.raises(
        ValueError, match=r"the images have the shape \(8, 8, 1\) \(H, W, C\), but the ensemble takes \(8, 8, 3\)"
    ):
        ensemble.predict(pixels[..., :1])
    with pytest.raises(ValueError, match=r"images of 8x8x3 are required: uint8 .*; this is ndarray of shape .*float64"):
        ensemble.predict(pixels / 255)
    with pytest.raises(ValueError, match="images are uint8"):
        quick().fit(pixels / 255, y)


@pytest.mark.parametrize("kind", DEFAULT_MEMBERS)
def test_without_members_a_default_selection_for_the_data_is_trained(
    kind: str, iris: tuple[np.ndarray, np.ndarray], digits_in_colour: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = iris if kind == "table" else digits_in_colour

    ensemble = EnsembleClassifier(validation={"scheme": "holdout", "fraction": 0.3}).fit(X, y)

    board = ensemble.leaderboard_
    assert set(board["name"]) == {"ensemble", *DEFAULT_MEMBERS[kind]}
    assert (board["status"] == "ok").all()
    assert ensemble.score(X, y) > 0.85


def test_it_is_a_step_of_a_pipeline_that_is_cross_validated_in_threads(iris: tuple[np.ndarray, np.ndarray]) -> None:
    import joblib

    with joblib.parallel_backend("threading"):
        scores = cross_val_score(make_pipeline(PolynomialFeatures(), quick()), *iris, cv=3, n_jobs=2)

    assert scores.min() > 0.9


@pytest.mark.slow
def test_a_grid_of_combiners_with_a_store_trains_each_member_once(
    iris: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    ensemble = quick(store=tmp_path / "store", folder=tmp_path / "runs")

    search = GridSearchCV(ensemble, {"combiner": ["mean", "best_single"]}, cv=2, scoring="neg_log_loss").fit(*iris)

    boards = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/leaderboard.json")]
    assert len(boards) == 2 * 2 + 1
    splits_and_refit = 2 + 1
    assert sum(board["tasks"]["trained"] for board in boards) == splits_and_refit * len(QUICK) * 2
    assert search.best_estimator_.run_.parent == tmp_path / "runs"
    assert search.best_estimator_.score(*iris) > 0.9


def test_a_class_with_fewer_rows_than_folds_lowers_the_folds_with_a_warning(
    iris: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = iris
    rows = np.r_[0:50, 50:53]

    with pytest.warns(UserWarning, match="the class '1' has only 3 rows, so 3 folds are used instead of 5"):
        ensemble = EnsembleClassifier({"linear": "logistic"}).fit(X[rows], y[rows])

    assert np.isfinite(ensemble.oof_proba_).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (slice(0, 51), "the class '1' has only one row.*add rows of this class, or remove it"),
        (slice(0, 50), "all rows have the class '0'"),
    ],
)
def test_labels_that_cannot_be_validated_are_refused(
    rows: slice, said: str, iris: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = iris

    with pytest.raises(ValueError, match=said):
        quick().fit(X[rows], y[rows])


def test_rows_without_weight_count_as_not_given(iris: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = iris
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    spoilt = np.where(weight, y, (y + 1) % 3)

    weighted = quick().fit(X, spoilt, sample_weight=weight)
    without = quick().fit(X[weight > 0], y[weight > 0], sample_weight=np.ones(100))

    np.testing.assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))
    assert np.isnan(weighted.oof_proba_[weight == 0]).all()
    np.testing.assert_array_equal(weighted.oof_proba_[weight > 0], without.oof_proba_)


def test_no_group_is_in_the_training_and_validation_rows_of_a_fold() -> None:
    random = np.random.default_rng(0)
    groups = np.arange(150) // 2
    noise = random.normal(size=(75, 4))[groups]
    label = random.integers(0, 2, 75)[groups]
    neighbour = quick(members={"near": {"kind": "knn", "neighbours": 1}}, combiner="mean")

    apart, together = neighbour.fit(noise, label).oof_proba_, neighbour.fit(noise, label, groups=groups).oof_proba_

    assert (apart.argmax(1) == label).mean() > 0.65, "its twin in another fold tells the label"
    assert (together.argmax(1) == label).mean() < 0.65


def test_with_time_the_earliest_rows_have_no_out_of_fold_probabilities(iris: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = iris
    order = np.random.default_rng(0).permutation(len(y))
    dates = pd.Series(pd.date_range("2025-01-01", periods=len(y))).iloc[order]

    ensemble = quick().fit(X, y, time=dates)

    validated = np.isfinite(ensemble.oof_proba_).all(axis=1)
    assert 0 < validated.sum() < len(y)
    assert order[validated].min() > order[~validated].max()


def test_weights_change_the_predictions(iris: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = iris[0][50:], iris[1][50:]

    even, heavy = (
        quick(members={"linear": "logistic"}, combiner="mean").fit(X, y, sample_weight=weight)
        for weight in (np.ones(100), np.where(y == 2, 50.0, 1.0))
    )

    assert (heavy.predict(X) == 2).sum() > (even.predict(X) == 2).sum() + 5


def test_predictions_depend_on_the_random_state(
    fitted: EnsembleClassifier, iris: tuple[np.ndarray, np.ndarray]
) -> None:
    again, other = quick().fit(*iris), quick(random_state=1).fit(*iris)

    np.testing.assert_array_equal(again.predict_proba(iris[0]), fitted.predict_proba(iris[0]))
    assert not np.array_equal(other.oof_proba_, fitted.oof_proba_)
    drawn = [quick(random_state=np.random.RandomState(7)).fit(*iris).oof_proba_ for _ in range(2)]
    np.testing.assert_array_equal(*drawn)


def test_nothing_stays_on_disk_and_a_pickle_predicts_the_same(
    iris: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    ensemble = quick().fit(*iris)
    copy = pickle.loads(pickle.dumps(ensemble))

    np.testing.assert_array_equal(copy.predict_proba(iris[0]), ensemble.predict_proba(iris[0]))
    assert copy.run_ is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_clone_is_not_fitted(fitted: EnsembleClassifier, iris: tuple[np.ndarray, np.ndarray]) -> None:
    new = clone(fitted)

    assert new.get_params() == fitted.get_params()
    for use in (lambda: new.predict(iris[0]), lambda: new.bundle_, lambda: new.save_bundle("nowhere")):
        with pytest.raises(NotFittedError):
            use()


def test_it_can_be_fitted_outside_the_main_thread_and_is_silent(
    iris: tuple[np.ndarray, np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    ensembles: list[EnsembleClassifier] = []
    thread = threading.Thread(target=lambda: ensembles.append(quick().fit(*iris)))

    thread.start()
    thread.join()

    assert len(ensembles) == 1
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_the_output_of_the_command(
    iris: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    quick(verbose=True).fit(*iris)

    said = " ".join(capsys.readouterr().out.split())
    assert "stratified 2-fold cross-validation" in said
    assert "2 members x 2 folds = 4 fit tasks, 0 reused" in said


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"members": {"a": "logistics"}}, r"members.a: unknown member kind 'logistics'; did you mean 'logistic'\?"),
        ({"members": {"a": {"kind": "logistic", "c": 1}}}, "members.a.c: unknown key 'c' .valid keys: C, "),
        ({"members": {}}, "an ensemble needs at least one member"),
        ({"members": ["logistic"]}, "members: should be a mapping"),
        ({"combiner": "average"}, "combiner: unknown combiner 'average'"),
        ({"validation": {"folds": 1}}, "validation.folds: should be greater than or equal to 2, but is 1"),
        ({"executor": "dask"}, "execution.executor: 'dask' is not one of 'ray' or 'local'"),
        ({"budget": "soon"}, r"execution.budget: .*'soon'"),
        ({"name": "my job"}, "name: use at most 100 letters, digits"),
        ({"tracking": True}, "tracking=True requires folder="),
        ({"random_state": "seven"}, "seven"),
    ],
)
def test_wrong_parameters_are_named_when_it_is_fitted(
    parameters: dict[str, Any], said: str, iris: tuple[np.ndarray, np.ndarray]
) -> None:
    ensemble = quick(**parameters)

    with pytest.raises(ValueError, match=said):
        ensemble.fit(*iris)


def test_a_failed_member_is_a_warning_and_too_many_are_an_error(iris: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.warns(UserWarning, match=r"the ensemble does not contain bad \(failed\)"):
        ensemble = quick(members=QUICK | {"bad": {"kind": "odd", "what": "raise"}}).fit(*iris)
    assert ensemble.score(*iris) > 0.9

    with pytest.raises(JobFailed, match="this member always raises"):
        quick(members={"bad": {"kind": "odd", "what": "raise"}}).fit(*iris)


def test_tasks_skipped_by_the_budget_are_a_warning_and_the_next_fit_resumes(
    iris: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = QUICK | {"slow": {"kind": "odd", "what": "wait", "price": 60}}
    ensemble = quick(members=members, budget=12, store=tmp_path / "store")

    with pytest.warns(UserWarning, match=r"the budget was too short to finish slow \(out of time\)"):
        ensemble.fit(*iris)

    assert ensemble.score(*iris) > 0.9
    again = quick(budget="10m", store=tmp_path / "store", verbose=True).fit(*iris)
    assert set(again.leaderboard_["status"]) == {"ok"}
    assert "4 fit tasks, 4 reused" in " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> EnsembleClassifier:
    """Fitted on the columns of breast cancer, its run folder kept."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    folder = tmp_path_factory.mktemp("kept") / "runs"
    return quick(folder=folder, name="cancer").fit(X, np.where(y, "benign", "malignant"))


def test_a_run_loads_by_its_folder_its_name_or_as_the_newest(
    kept: EnsembleClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_RUNS", str(kept.run_.parent))
    X, _ = load_breast_cancer(return_X_y=True, as_frame=True)

    for run in (kept.run_, str(kept.run_), kept.run_.name, kept.run_ / "bundle", None):
        loaded = quorate.load(run)
        np.testing.assert_array_equal(loaded.predict_proba(X), kept.predict_proba(X))

    np.testing.assert_array_equal(loaded.classes_, ["benign", "malignant"])
    np.testing.assert_array_equal(loaded.predict(X.to_numpy()), kept.predict(X))
    pd.testing.assert_frame_equal(loaded.leaderboard, kept.leaderboard_)


def test_a_saved_bundle_loads_with_the_scores_of_its_leaderboard(kept: EnsembleClassifier, tmp_path: Path) -> None:
    place = kept.save_bundle(tmp_path / "somewhere" / "bundle")

    loaded = quorate.load(place)

    known = [name for name in kept.leaderboard_ if name not in ("fit_seconds", "predict_ms", "status")]
    pd.testing.assert_frame_equal(loaded.leaderboard[known], kept.leaderboard_[known])
    assert loaded.leaderboard["fit_seconds"].isna().all()
    with pytest.raises(FileExistsError):
        kept.save_bundle(place)


def test_a_loaded_ensemble_accepts_columns_in_any_order_and_names_missing_ones(
    kept: EnsembleClassifier,
) -> None:
    X, _ = load_breast_cancer(return_X_y=True, as_frame=True)
    loaded = quorate.load(kept.run_)

    np.testing.assert_array_equal(loaded.predict_proba(X[X.columns[::-1]]), kept.predict_proba(X))
    with pytest.raises(UserError, match="the column 'mean radius' is missing"):
        loaded.predict_proba(X.drop(columns="mean radius"))
    with pytest.raises(UserError, match=r"tables of 30 columns .* of shape \(n, 30\) are required; this is ndarray of"):
        loaded.predict_proba(X.to_numpy()[:, :5])


def test_an_unknown_run_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match="there is no run 'digits'"):
        quorate.load("digits")


def test_a_loaded_ensemble_takes_pixels_or_paths(
    digits_in_colour: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    pixels, y = digits_in_colour
    ensemble = quick().fit(pixels, y)
    loaded = quorate.load(ensemble.save_bundle(tmp_path / "bundle"))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, pixels, strict=False):
        Image.fromarray(image).save(path)

    expected = loaded.predict_proba(pixels[:3])

    np.testing.assert_array_equal(expected, ensemble.predict_proba(pixels[:3]))
    np.testing.assert_allclose(loaded.predict_proba(paths), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.predict_proba(str(paths[1])), expected[1:2], atol=1e-5)
    np.testing.assert_array_equal(loaded.predict(paths), np.array(loaded.classes_)[expected.argmax(axis=1)])


@pytest.mark.slow
def test_a_tracked_ensemble_loads_from_the_registry(
    iris: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    ensemble = quick(folder="runs", name="irises", tracking=True).fit(*iris)
    loaded = _loaded_once_there("models:/irises@champion")

    np.testing.assert_array_equal(loaded.predict_proba(iris[0]), ensemble.predict_proba(iris[0]))


def _loaded_once_there(uri: str, *, seconds: float = 120) -> Ensemble:
    """The first migration of a database takes longer than a fit waits for what it sends."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return quorate.load(uri)
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


@pytest.mark.slow
def test_ray_gives_the_same_bits_as_this_process(
    fitted: EnsembleClassifier, iris: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    script = tmp_path / "fit.py"
    script.write_text(
        "import sys, numpy as np\n"
        "from sklearn.datasets import load_iris\n"
        "from quorate import EnsembleClassifier\n"
        "X, y = load_iris(return_X_y=True)\n"
        f"ensemble = EnsembleClassifier({QUICK!r}, validation={{'folds': 2}}, executor='ray').fit(X, y)\n"
        "np.save(sys.argv[1], ensemble.predict_proba(X))\n"
    )

    subprocess.run([sys.executable, script, tmp_path / "proba.npy"], check=True, timeout=200)

    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), fitted.predict_proba(iris[0]))


def test_importing_quorate_imports_nothing_large() -> None:
    code = "import quorate, sys; print([m for m in ('numpy', 'pandas', 'torch', 'sklearn', 'ray') if m in sys.modules])"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
    assert {"EnsembleClassifier", "load", "__version__"} <= set(dir(quorate))
    with pytest.raises(AttributeError, match="'quorate' has no attribute 'fit'"):
        quorate.fit  # noqa: B018


def test_a_search_of_a_member_is_refused(iris):
    with pytest.raises(ValueError, match=r"members: linear: search requires a job file and `quorate train` or `quor"):
        quick(members={"linear": {"kind": "logistic", "search": {"trials": 2}}}).fit(*iris)
