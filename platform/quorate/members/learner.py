"""Code that members with scikit-learn estimators share: features, classes, and skops files with an allow-list."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, precision_score, recall_score
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Dataset, Inputs
from quorate.data.features import Encoding, Features, Matrix
from quorate.data.signature import Signature
from quorate.data.standardize import Scheme, check_scheme
from quorate.data.weighting import WeightingParams, Weights, balanced_rows, row_weights
from quorate.members import backbone
from quorate.members.backbone_features import BackboneFeatures, fit_any_features, load_any_features
from quorate.members.base import Member, Proba, read_header, write_header
from quorate.members.best_backbones import BestBackbones, FrozenNetworks, JoinedBackbones
from quorate.training.context import Device, Hardware, Numerics, TaskContext

MODEL = "model.skops"


class LearnerParams(WeightingParams):
    """Parameters that all scikit-learn members share."""

    standardize: Scheme = "feature"
    """How values are scaled. `feature` and `channel` use the mean and standard deviation of each pixel or column, or of
    each channel, over the fold's training rows; `sample` uses those of each image. `quantile` maps the columns of a
    table to normal distributions, and `robust` uses the median and interquartile range. `zca` and `pca` whiten images,
    `pca` also tables."""
    features: FrozenNetworks | None = None
    """Use the features of a frozen network of timm instead of pixels: `timm/NAME`, or a mapping; see below.
    `standardize` then scales these features."""

    many_categories: Literal["rare", "target"] = "rare"
    """How a column of a table with more than 64 categories becomes numbers: as the other columns, in which rare
    categories share a number (`rare`), or as the shares of the classes among the training rows of each category, out of
    fold in the training (`target`; Micci-Barreca, 2001)."""

    @property
    def frozen_backbones(self) -> tuple[backbone.Backbone, ...]:
        if isinstance(self.features, JoinedBackbones):
            return self.features.of
        return (self.features,) if isinstance(self.features, backbone.Backbone) else ()

    @property
    def best_backbones(self) -> BestBackbones | None:
        return self.features if isinstance(self.features, BestBackbones) else None


class Learner(Member):
    """A scikit-learn classifier on standardized pixels, or on the encoded columns of a table."""

    Params: ClassVar[type[LearnerParams]] = LearnerParams
    version: ClassVar[int] = 2
    encoding: ClassVar[Encoding] = "onehot"
    """How this kind encodes the categories of tables."""
    trusted: ClassVar[tuple[str, ...]] = ()
    """Types that a saved model of this kind may contain in addition to those that skops trusts; never read from a
    file."""
    weighs: ClassVar[bool] = True
    """Whether the estimator's `fit` takes `sample_weight`."""
    resamples: ClassVar[bool] = True
    """Whether rows may be drawn more than once; false for an inner cross-validation, which would train and validate on
    the same row."""

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None:
        self.params = params
        self.signature = signature
        self.n_classes = n_classes
        self.history: list[dict[str, float]] = []
        self.chosen: dict[str, float] = {}
        """The parameters that were chosen on held-out training rows (`auto`), by name; part of the history."""
        self.features: Features
        self.model: Any = None

    @property
    def classes(self) -> NDArray[np.int64]:
        """The classes of the fold's training rows, in the order of the model's probabilities."""
        classes: NDArray[np.int64] = self.model.classes_
        return classes

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        """Return an unfitted estimator with `predict_proba`, for training labels `y`."""
        raise AssertionError("each kind makes its own")

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        """Fit `self.model` on the features `x` of the rows `train`, with weights `weight` (N,)."""
        y, seed = train.y, context.seed % 2**32
        if self.params.sampling:
            rows = balanced_rows(y, seed=seed)
            x, y, weight = x[rows], y[rows], None if weight is None else weight[rows]
        self.model = self.estimator(seed=seed, y=y)
        self.model.fit(x, y, **({} if weight is None else {"sample_weight": weight}))

    def model_proba(self, x: Matrix) -> NDArray[np.floating[Any]]:
        """Return the probabilities (N, `len(self.classes)`) for features."""
        proba: NDArray[np.floating[Any]] = self.model.predict_proba(x)
        return proba

    def write_model(self, folder: Path) -> dict[str, Any]:
        """Write the model's files; return the other data that `read_model` needs."""
        import skops.io  # imports every estimator of scikit-learn: seconds

        skops.io.dump(self.model, folder / MODEL, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        return {}

    def read_model(self, folder: Path, saved: dict[str, Any]) -> None:
        """Restore the model from the files that `write_model` wrote."""
        import skops.io

        self.model = skops.io.load(folder / MODEL, trusted=list(self.trusted))

    def check(self) -> None:
        """Raise `ValueError` if a loaded model is inconsistent and would crash the process."""

    @classmethod
    def numerics(cls, params: LearnerParams, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        seen = backbone.check_backbones(params.frozen_backbones, signature)
        check_scheme(params.standardize, seen)
        if params.many_categories != "rare" and seen.kind != "table":
            raise ValueError(f"many_categories works only with tables, but the data are {seen}; remove it")
        return Numerics(threads=max(1, int(params.cpus)))

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        raise AssertionError("each kind has its own")

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        started = time.perf_counter()
        x = self._fit_features(train, context)
        with threadpool_limits(context.numerics.threads):
            self.learn(x, train, weight=row_weights(train, self.params), context=context)
            figures = self._figures("train", x, train.y) | self._figures("valid", self.features(valid.x), valid.y)
        chosen = {f"chosen_{name}": value for name, value in self.chosen.items()}
        self.history = [figures | chosen | {"seconds": time.perf_counter() - started}]
        context.report(self.history[0], dict)
        return self

    def _fit_features(self, train: Dataset, context: TaskContext) -> Matrix:
        """Fit the features; return those of the training rows."""
        p = self.params
        if p.many_categories == "target":
            from quorate.data.target_features import fit_target_features  # scikit-learn's encoders

            seed = context.seed % 2**32
            self.features, x = fit_target_features(train, standardize=p.standardize, encoding=self.encoding, seed=seed)
            return x
        self.features = fit_any_features(
            train.x, p.frozen_backbones, standardize=p.standardize, encoding=self.encoding, context=context
        )
        return self.features(train.x)

    def predict_proba(self, x: Inputs) -> Proba:
        return self._proba(self.features(x))

    def to(self, device: Device) -> None:
        """Compute the features of a backbone on this device; the estimator itself computes on CPUs only."""
        if isinstance(self.features, BackboneFeatures):
            self.features = self.features.on(device)

    def save(self, folder: Path) -> None:
        write_header(
            folder,
            params=self.params.model_copy(update={"features": None}),  # the features save the backbone's other settings
            n_classes=self.n_classes,
            features=self.features.save(folder),
            **({"chosen": self.chosen} if self.chosen else {}),
            **self.write_model(folder),
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        header = read_header(folder)
        params = cls.Params.model_validate(header["params"])
        features = load_any_features(folder, header["features"])
        member = cls(params, signature=features.signature, n_classes=header["n_classes"])
        member.features = features
        member.chosen = header.get("chosen", {})
        member.read_model(folder, header)
        member.check()
        return member

    def _proba(self, x: Matrix) -> Proba:
        """Return columns for all classes of the job; a class that is missing from the fold has probability 0."""
        proba = np.zeros((len(x), self.n_classes), np.float32)
        proba[:, self.classes] = self.model_proba(x)
        return proba

    def _figures(self, prefix: str, x: Matrix, y: NDArray[np.int64]) -> dict[str, float]:
        proba = self._proba(x).astype(np.float64).clip(1e-12)
        proba /= proba.sum(1, keepdims=True)
        predicted = proba.argmax(1)
        return {
            f"{prefix}_loss": float(log_loss(y, proba, labels=np.arange(self.n_classes))),
            f"{prefix}_accuracy": float(accuracy_score(y, predicted)),
            f"{prefix}_precision": float(precision_score(y, predicted, average="macro", zero_division=0)),
            f"{prefix}_recall": float(recall_score(y, predicted, average="macro", zero_division=0)),
        }
