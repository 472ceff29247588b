"""Run an ensemble job as a scikit-learn classifier."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from quorate.bundle import Bundle
from quorate.data.dataset import Dataset, Inputs
from quorate.data.in_memory import InMemoryParams, as_array, as_images, as_inputs, infer_inputs, is_image_array, scaling
from quorate.data.labels import python_labels
from quorate.data.roles import groups_of, times_of
from quorate.data.signature import Signature, TableSignature
from quorate.data.source import OpenedData
from quorate.execution.interrupt import StopRequest
from quorate.job.run import Options, run_job
from quorate.members.estimator_recipe import describe
from quorate.report.frame import as_frame
from quorate.runs.folder import RunFolder
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.place import FolderRuns
from quorate.spec import Job, ValidationSpec, validate
from quorate.spec.file import Source
from quorate.store import open_store

Members = Mapping[str, str | Mapping[str, Any] | BaseEstimator]

DEFAULT_MEMBERS: dict[str, Members] = {
    "table": {
        "boosting": "gradient_boosting",
        "trees": {"kind": "extra_trees", "min_samples_leaf": "auto", "max_features": "auto", "smoothing": 1},
        "logistic": {"kind": "logistic", "C": "auto"},
        "mlp": {"kind": "net", "arch": "mlp", "schedule": "one_cycle", "dropout": 0.1},
    },
    "image": {
        "cnn": {"kind": "net", "arch": "small_cnn", "schedule": "one_cycle", "lr": 0.05, "dropout": 0.1},
        "svm": {"kind": "svm", "C": 10},
        "forest": "random_forest",
    },
}
"""Default members for tables and for images: few members that are fast on one core and differ from each other."""


class EnsembleClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An ensemble of diverse classifiers, combined and calibrated by their out-of-fold predictions.

    It runs the same job as `quorate train`, by default in this process and without leaving files on disk.

    Parameters
    ----------
    members
        Members by name. A member is the name of a kind, a mapping with the key `kind` and its parameters as in a job
        file, or an unfitted classifier of scikit-learn, which learns from standardized pixels or encoded columns (the
        member kind `sklearn`). Default for tables: gradient boosting, extra trees, logistic regression and a
        multilayer perceptron. Default for images: a small convolutional network, an SVM and a random forest.
    combiner
        Name of a combiner, or a mapping with the key `kind` and its parameters.
    validation
        How rows are split into folds, as in a job file, such as `{"folds": 3}`. If the rarest class has fewer rows
        than there are folds, the number of folds is its number of rows, with a warning.
    random_state
        Seed of the job. The same seed gives the same ensemble. None draws a seed from NumPy's global state.
    executor
        `local` trains in this process, one fit task after another. `ray` trains on the cluster at RAY_ADDRESS;
        without this variable it starts Ray on this machine.
    budget
        Time limit of `fit`, in seconds or as `300s`, `20m`, `2h`; None for no limit. A warning names the members that
        are not finished in time. With `store`, another `fit` continues with them.
    grow
        Whether to add copies and members of the portfolio within the budget, while they lower the cross-fitted loss.
    store
        Folder of finished work, for all jobs that use it: work in it is not trained again. With a store, a grid
        search over combiners trains each member once. Without it, no work is kept.
    folder
        Folder for the run folder, which `quorate predict`, `serve` and `leaderboard` read. Without it, the files of
        the run are removed when `fit` ends; the estimator keeps what it needs to predict.
    name
        Name of the job: of its run folder, and of the run and the model in MLflow.
    tracking
        Whether to send the job to MLflow; requires `folder`.
    verbose
        Whether to print progress.

    Attributes
    ----------
    classes_
        The labels (K,), sorted, in the type of `y`.
    n_features_in_, feature_names_in_
        As in scikit-learn; for images, the number of pixel values of one image.
    leaderboard_
        A data frame with one row for the ensemble and one per member (`quorate.report.frame.as_frame`).
    oof_proba_
        Cross-fitted probabilities (n, K) of the ensemble for the training rows; NaN for rows that no fold validates
        (with a single holdout fold, and rows of weight 0).
    run_
        The run folder if `folder` is set; else None.
    bundle_
        The trained ensemble (`quorate.bundle.Bundle`).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from quorate import EnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = EnsembleClassifier({"linear": "logistic", "forest": {"kind": "random_forest", "trees": 50}})
    >>> ensemble.fit(X, y).predict(X[:2])
    array([0, 0])
    """

    def __init__(
        self,
        members: Members | None = None,
        *,
        combiner: str | Mapping[str, Any] = "calibrated_greedy",
        validation: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        executor: Literal["local", "ray"] = "local",
        budget: float | str | None = None,
        grow: bool = False,
        store: str | Path | None = None,
        folder: str | Path | None = None,
        name: str = "ensemble",
        tracking: bool = False,
        verbose: bool = False,
    ) -> None:
        self.members = members
        self.combiner = combiner
        self.validation = validation
        self.random_state = random_state
        self.executor = executor
        self.budget = budget
        self.grow = grow
        self.store = store
        self.folder = folder
        self.name = name
        self.tracking = tracking
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        time: ArrayLike | None = None,
    ) -> Self:
        """Train, calibrate and combine the members.

        `X` is an array of numbers (n, columns), with NaN for missing values; a data frame, in which text columns are
        categories; or uint8 images (n, H, W) or (n, H, W, C). `y` (n,) are labels of a type that can be sorted.
        `sample_weight` (n,) are the weights of the rows in training; a row of weight 0 is left out everywhere. With
        `groups` (n,), no group is in both the training and the validation rows of a fold. With `time` (n,), numbers or
        dates, models predict only rows that are later than their training rows.

        Raises `ValueError` for input that cannot be used, and `quorate.job.ensemble.JobFailed` if fewer members are
        trained than the quorum requires.
        """
        labels = _checked_labels(self, y)
        rows = self._check_rows(X, fitting=True)
        check_consistent_length(rows, labels, groups, time)
        inputs = infer_inputs(rows)
        weight = _check_sample_weight(sample_weight, labels, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(weight)
        classes, encoded = np.unique(labels[kept], return_inverse=True)
        data = Dataset(
            inputs if len(kept) == len(labels) else inputs.subset(kept),
            encoded.astype(np.int64),
            tuple(map(str, classes)),
            weight=None if sample_weight is None else weight[kept].astype(np.float32),
            groups=None if groups is None else groups_of(pd.Series(groups))[kept],
            time=None if time is None else times_of(pd.Series(time))[kept],
        )
        job = _with_fitting_folds(self._job(inputs.signature), data, classes)
        with self._workspace() as (store, runs):
            options = Options(
                open_store(str(store)), FolderRuns(runs), self.executor, wait=True, pictures=self.folder is not None
            )
            console = Console(quiet=not self.verbose, markup=False, emoji=False)
            board = run_job(job, options, console=console, stop=_NoSignals(), data=OpenedData(data, None))
            run = RunFolder(runs / board.run)
            self._files = {
                str(path.relative_to(run.bundle)): path.read_bytes()
                for path in sorted(run.bundle.rglob("*"))
                if path.is_file()
            }
            self._bundle = Bundle.load(run.bundle, allow_code=True)
            with np.load(run.path / "oof.npz", allow_pickle=False) as arrays:
                out_of_fold = arrays["ensemble"]
        self.classes_ = classes
        self.leaderboard_ = as_frame(board)
        self.oof_proba_ = np.full((len(labels), len(classes)), np.nan)
        self.oof_proba_[kept] = out_of_fold
        self.run_ = run.path if self.folder is not None else None
        _warn_of_lost(board)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return calibrated probabilities (n, K), in the order of `classes_`."""
        check_is_fitted(self)
        return self.bundle_.predict(self._as_fitted(X)).proba

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row (n,), in the type of the labels."""
        check_is_fitted(self)
        predicted: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return predicted

    @property
    def bundle_(self) -> Bundle:
        """The trained ensemble."""
        check_is_fitted(self)
        if not hasattr(self, "_bundle"):
            with tempfile.TemporaryDirectory(prefix="quorate-") as name:
                self._bundle = Bundle.load(self.save_bundle(Path(name) / "bundle"), allow_code=True)
        return self._bundle

    def save_bundle(self, folder: str | Path) -> Path:
        """Write the bundle to a new folder, for `quorate.load`, `quorate predict` and `quorate serve`.

        Raises `FileExistsError` if `folder` exists.
        """
        check_is_fitted(self)
        folder = Path(folder)
        folder.mkdir(parents=True)
        for name, content in self._files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_bundle"}  # the state contains its files instead

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _check_rows(self, X: Any, *, fitting: bool) -> Any:
        """Check rows as scikit-learn does; when fitting, set the number and the names of the features."""
        array = as_array(X)
        if is_image_array(array):
            as_images(array)
            self.n_features_in_ = int(np.prod(array.shape[1:]))
            return array
        if fitting and isinstance(array, np.ndarray) and array.ndim in (3, 4):
            raise ValueError(
                f"images are uint8 (n, H, W) or (n, H, W, C); these are {array.dtype} of shape {array.shape}"
                f"{scaling(array)}"
            )
        if isinstance(X, pd.DataFrame):
            if 0 in X.shape:
                raise ValueError(f"Found array with shape={X.shape} while a minimum of 1 row and 1 column is required.")
            return validate_data(self, X, reset=fitting, skip_check_array=True)
        kind = "numeric" if fitting or not _has_categories(self.bundle_.signature) else None
        return validate_data(self, X, reset=fitting, dtype=kind, ensure_all_finite="allow-nan")

    def _as_fitted(self, X: Any) -> Inputs:
        """Convert checked rows to the fitted signature; the columns of data frames are matched by position."""
        signature = self.bundle_.signature
        rows = X
        if isinstance(signature, TableSignature) and not is_image_array(as_array(X)):
            rows = self._check_rows(X, fitting=False)
            if isinstance(rows, pd.DataFrame):
                rows = rows.set_axis(signature.names(), axis=1)
        return as_inputs(rows, signature)

    def _job(self, signature: Signature) -> Job:
        """Return the job with these parameters; raises `SpecError`, a `ValueError` that lists all invalid ones."""
        if self.tracking and self.folder is None:
            raise ValueError(
                "tracking=True requires folder=, because the files for MLflow must be kept until they have been sent"
            )
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        members = self.members if self.members is not None else DEFAULT_MEMBERS[signature.kind]
        tree = {
            "name": self.name,
            "seed": int(seed),
            "data": InMemoryParams(),
            "validation": _plain(self.validation if self.validation is not None else {}),
            "members": _plain(members),
            "combiner": _plain(self.combiner),
            "execution": {"executor": self.executor, "budget": self.budget},
            "grow": self.grow,
            "tracking": {"enabled": bool(self.tracking)},
        }
        job = validate(Source(type(self).__name__, tree, {}), base=Path())
        if searched := [name for name, params in job.spec.members.items() if params.search is not None]:
            raise ValueError(
                f"members: {', '.join(searched)}: search requires a job file and `quorate train` or `quorate tune`; "
                "remove it"
            )
        return job

    @contextmanager
    def _workspace(self) -> Iterator[tuple[Path, Path]]:
        """Yield the folders of the store and of the runs: those of the parameters, or temporary ones."""
        with tempfile.TemporaryDirectory(prefix="quorate-") as name:
            store = Path(self.store).expanduser().absolute() if self.store is not None else Path(name) / "store"
            runs = Path(self.folder).expanduser().absolute() if self.folder is not None else Path(name) / "runs"
            yield store, runs


class _NoSignals(StopRequest):
    """Leave Ctrl-C to Python, which ends `fit` with `KeyboardInterrupt`; this works in any thread."""

    def install(self) -> None:
        return


def _checked_labels(estimator: EnsembleClassifier, y: ArrayLike) -> NDArray[Any]:
    labels: NDArray[Any] = validate_data(estimator, y=python_labels(y))
    check_classification_targets(labels)
    return labels


def _has_categories(signature: Signature) -> bool:
    return isinstance(signature, TableSignature) and bool(signature.names("categorical"))


def _plain(value: Any) -> Any:
    """Convert a parameter to the form of a parsed job file; mappings become dictionaries, and classifiers become
    descriptions."""
    if isinstance(value, BaseEstimator):
        return {"kind": "sklearn", "estimator": describe(value)}
    if not isinstance(value, Mapping):
        return value
    if isinstance(estimator := value.get("estimator"), BaseEstimator):
        value = {**value, "estimator": describe(estimator)}
    return {key: _plain(item) for key, item in value.items()}


def _with_fitting_folds(job: Job, data: Dataset, classes: NDArray[Any]) -> Job:
    """Reduce the number of folds to the number of rows of the rarest class; raises `ValueError` for one row."""
    if len(classes) < 2:
        raise ValueError(f"all rows have the class '{classes[0]}'; a classifier needs at least two classes")
    counts = np.bincount(data.y)
    name, rarest = classes[counts.argmin()], int(counts.min())
    if rarest < 2:
        raise ValueError(
            f"the class '{name}' has only one row; a class needs at least two, one for training and one for "
            "validation: add rows of this class, or remove it"
        )
    validation: ValidationSpec = job.spec.validation
    by_class = data.groups is None and data.time is None
    in_folds = validation.scheme == "kfold" or (validation.scheme == "auto" and len(data) < validation.auto_rows)
    if not (by_class and in_folds) or rarest >= validation.folds:
        return job
    said = f"the class '{name}' has only {rarest} rows, so {rarest} folds are used instead of {validation.folds}"
    warnings.warn(said, stacklevel=3)
    fewer = validation.model_copy(update={"folds": rarest})
    return Job(job.spec.model_copy(update={"validation": fewer}), job.source)


def _warn_of_lost(board: Leaderboard) -> None:
    """Warn about members that are missing or incomplete, with their status."""
    lost = {row.name: row.status for row in board.members if row.status != "ok"}
    if failed := [f"{name} ({status})" for name, status in lost.items() if status in ("failed", "diverged")]:
        warnings.warn(
            f"the ensemble does not contain {', '.join(failed)}; fit with verbose=True to see the reasons", stacklevel=3
        )
    if late := [f"{name} ({status})" for name, status in lost.items() if status not in ("failed", "diverged")]:
        warnings.warn(
            f"the budget was too short to finish {', '.join(late)}; use a longer budget, or set store= and fit again "
            "to continue",
            stacklevel=3,
        )
