"""What members made of scikit-learn estimators share: features, classes, skops files with an allow-list."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, precision_score, recall_score
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Dataset, Inputs
from quorate.data.features import Encoding, Features, fit_features, load_features
from quorate.data.signature import Signature
from quorate.data.standardize import Scheme, check_scheme
from quorate.members.base import Proba, read_header, write_header
from quorate.spec import MemberParams
from quorate.training.run import Hardware, Numerics, Run

_MODEL = "model.skops"


class LearnerParams(MemberParams):
    """What every scikit-learn member takes."""

    standardize: Scheme = "feature"
    """Statistics of the fold's training rows: of each pixel or column (`feature`), channel, or of each sample;
    `quantile` maps the columns of a table to normal distributions."""


class Learner:
    """A scikit-learn classifier on standardized pixels, or on the encoded columns of a table."""

    Params: ClassVar[type[LearnerParams]] = LearnerParams
    version: ClassVar[int] = 2
    encoding: ClassVar[Encoding] = "onehot"
    """How this kind takes the categories of tables."""
    trusted: ClassVar[tuple[str, ...]] = ()
    """Types beyond skops' own that a saved model of this kind may hold; never read from a file."""

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None:
        self.params = params
        self.signature = signature
        self.n_classes = n_classes
        self.history: list[dict[str, float]] = []
        self.features: Features
        self.model: Any = None

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        """An unfitted estimator with `predict_proba`, for training labels `y`."""
        raise AssertionError("each kind makes its own")

    def check(self) -> None:
        """Raise `ValueError` where a loaded model is inconsistent and would crash the process."""

    @classmethod
    def numerics(cls, params: LearnerParams, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        check_scheme(params.standardize, signature)
        return Numerics(threads=max(1, int(params.cpus)))

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        raise AssertionError("each kind knows its own")

    def fit(self, train: Dataset, valid: Dataset, run: Run) -> Self:
        started = time.perf_counter()
        self.features = fit_features(train.x, standardize=self.params.standardize, encoding=self.encoding)
        self.model = self.estimator(seed=run.seed % 2**32, y=train.y)
        x = self.features(train.x)
        with threadpool_limits(run.numerics.threads):
            self.model.fit(x, train.y)
            figures = self._figures("train", x, train.y) | self._figures("valid", self.features(valid.x), valid.y)
        self.history = [figures | {"seconds": time.perf_counter() - started}]
        run.report(self.history[0], dict)
        return self

    def predict_proba(self, x: Inputs) -> Proba:
        return self._proba(self.features(x))

    def save(self, folder: Path) -> None:
        import skops.io  # imports every estimator of scikit-learn: seconds

        skops.io.dump(self.model, folder / _MODEL, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        write_header(
            folder,
            params=self.params,
            n_classes=self.n_classes,
            features=self.features.save(folder),
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        import skops.io

        header = read_header(folder)
        params = cls.Params.model_validate(header["params"])
        features = load_features(folder, header["features"])
        member = cls(params, signature=features.signature, n_classes=header["n_classes"])
        member.features = features
        member.model = skops.io.load(folder / _MODEL, trusted=list(cls.trusted))
        member.check()
        return member

    def _proba(self, x: NDArray[np.float32]) -> Proba:
        """Columns for all classes of the job; one that the fold missed has probability 0."""
        proba = np.zeros((len(x), self.n_classes), np.float32)
        proba[:, self.model.classes_] = self.model.predict_proba(x)
        return proba

    def _figures(self, prefix: str, x: NDArray[np.float32], y: NDArray[np.int64]) -> dict[str, float]:
        proba = self._proba(x).astype(np.float64).clip(1e-12)
        proba /= proba.sum(1, keepdims=True)
        predicted = proba.argmax(1)
        return {
            f"{prefix}_loss": float(log_loss(y, proba, labels=np.arange(self.n_classes))),
            f"{prefix}_accuracy": float(accuracy_score(y, predicted)),
            f"{prefix}_precision": float(precision_score(y, predicted, average="macro", zero_division=0)),
            f"{prefix}_recall": float(recall_score(y, predicted, average="macro", zero_division=0)),
        }
