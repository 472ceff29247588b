"""The training targets of a student: rows with the predictions of a finished run's ensemble."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import MANIFEST, Bundle
from quorate.data.dataset import ArrayImages, Dataset, Images, Inputs, JoinedImages, Rows
from quorate.data.table import Table
from quorate.data.table_mixtures import NEIGHBOURS, SWAPPED, RowMixtures
from quorate.ensemble.arrays import Floats, Mask
from quorate.plan.identity import digest
from quorate.results.results import Results
from quorate.runs.finished import FinishedRun
from quorate.runs.folder import RunFolder
from quorate.training.augment import Augment
from quorate.training.views import VERSION, ViewedImages

VIEWS = 10
"""Default number of augmented views per image, and of mixtures per row of a table. An assumption, not a measurement."""
IN_MEMORY = 2 << 30
"""Maximum total size in bytes of views to keep in memory. With more, views of images are drawn again in each epoch, and
there are fewer mixtures per row of a table. An assumption, not a measurement."""

Progress = Callable[[int, int], None]
"""Called with the number of views that the ensemble has predicted, and their total number."""


@dataclass(frozen=True, eq=False)
class TeacherTargets:
    """Training rows with the ensemble's probabilities (n, K); NaN for rows without a prediction."""

    data: Dataset
    proba: Floats
    labelled: Mask
    """Rows (n,) whose labels are also used."""
    views: int = 0
    """Number of views per image, or of mixtures per row of a table. All rows of one view are stored before those of the
    next. 0 for unchanged rows."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that, with the rows of the run, determine the views."""

    @property
    def rows(self) -> int:
        """Number of rows in an epoch, which uses one view of each."""
        return len(self.data) // max(self.views, 1)

    @property
    def answered(self) -> int:
        """Number of rows with a prediction of the ensemble."""
        return int(np.isfinite(self.proba).all(axis=1).sum())


def out_of_fold(run: FinishedRun, rows: Rows) -> TeacherTargets:
    """The rows with cross-fitted probabilities, which come from models that have not seen the row."""
    return TeacherTargets(run.context.train.take(rows), run.ensemble[rows], np.ones(len(rows), bool))


def varied(
    run: FinishedRun,
    rows: Rows,
    augment: Augment,
    *,
    views: int,
    seed: int,
    results: Results,
    watch: Progress = lambda *seen: None,
) -> TeacherTargets:
    """Views of these images and of the job's unlabelled images, each with the prediction of the whole ensemble.

    Teacher and student use the same views, and half of them are mixtures of two images: function matching (Beyer et
    al., 2022, "Knowledge distillation: a good teacher is patient and consistent"). For mixtures and unlabelled images,
    the ensemble's predictions are the only targets.
    """
    data, extra = run.context.train.take(rows), run.context.unlabelled
    assert not isinstance(data.x, Table), "tables have mixtures"
    images: Images = data.x if extra is None else JoinedImages((data.x, extra))
    seen = ViewedImages(images, augment, views, seed)
    size = len(images) * int(np.prod(images.shape))
    source = {
        "version": VERSION,
        "augment": augment.model_dump(mode="json"),
        "seed": seed,
        "unlabelled": run.context.unlabelled_digest,
    }
    teacher = _Teacher.of(run, rows, results, source)
    answers, parts = [], list[Images]()
    for number, rows_of_view in enumerate(np.arange(len(seen)).reshape(views, -1)):
        view = seen.subset(rows_of_view)
        drawn = ArrayImages(seen.take(rows_of_view)) if size <= IN_MEMORY else view
        answers.append(teacher.predict(drawn, number))
        parts.append(drawn if views * size <= IN_MEMORY else view)
        watch(number + 1, views)
    own = np.arange(len(images)) < len(data)
    guess = answers[0].argmax(axis=1)  # placeholder labels for unlabelled images
    y = np.concatenate([data.y, guess[len(data) :]])
    weight = data.weight
    if weight is not None:
        weight = np.concatenate([weight, np.ones(len(images) - len(data), np.float32)])
    return TeacherTargets(
        _in_views(data, JoinedImages(tuple(parts)), y, weight, views),
        np.concatenate(answers),
        np.tile(own, views) & ~seen.mixed,
        views,
        source,
    )


def mixed(
    run: FinishedRun,
    rows: Rows,
    *,
    views: int,
    seed: int,
    results: Results,
    watch: Progress = lambda *seen: None,
) -> TeacherTargets:
    """At most `views` mixtures per row of a table, each with the prediction of the whole ensemble, and without labels.

    The ensemble has not seen them, whereas it is too sure of its training rows.
    """
    data = run.context.train.take(rows)
    assert isinstance(data.x, Table), "images have views"
    size = 8 * len(data) * len(data.x.signature.columns)
    views = max(1, min(views, IN_MEMORY // size))
    mixtures = RowMixtures.of(data.x, seed)
    source = {"mixtures": [NEIGHBOURS, SWAPPED], "seed": seed}
    teacher = _Teacher.of(run, rows, results, source)
    answers, parts = [], list[Table]()
    for number in range(views):
        parts.append(mixtures.view(number))
        answers.append(teacher.predict(parts[-1], number))
        watch(number + 1, views)
    return TeacherTargets(
        _in_views(data, Table.joined(parts), data.y, data.weight, views),
        np.concatenate(answers),
        np.zeros(len(data) * views, bool),
        views,
        source,
    )


def _in_views(
    data: Dataset, x: Inputs, y: NDArray[np.int64], weight: NDArray[np.float32] | None, views: int
) -> Dataset:
    """The rows `x` of all views, with the labels and weights of one view."""
    return Dataset(
        x,
        np.tile(y, views),
        data.class_names,
        weight=None if weight is None else np.tile(weight, views),
        labels_are=data.labels_are,
    )


@dataclass(frozen=True)
class _Teacher:
    """The whole ensemble of a run. Its predictions are kept in the store, so that an interrupted distillation does not
    repeat them."""

    folder: RunFolder
    results: Results
    identity: Mapping[str, Any]
    """JSON values that determine the rows of each view, and the predictions."""

    @classmethod
    def of(cls, run: FinishedRun, rows: Rows, results: Results, source: Mapping[str, Any]) -> _Teacher:
        manifest = hashlib.sha256((run.folder.bundle / MANIFEST).read_bytes()).hexdigest()
        learned = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        data = run.context.train.fingerprint
        return cls(run.folder, results, {"bundle": manifest, "data": data, "rows": learned, **source})

    def predict(self, x: Inputs, view: int) -> Floats:
        """The probabilities (n, K) of the rows of one view."""
        key = digest(what="teacher", view=view, **self.identity)
        answer = self.results.proba(key)
        if answer is None:
            answer = self._bundle.predict(x).proba
            self.results.keep_prediction(key, answer)
        return np.asarray(answer, np.float64)

    @cached_property
    def _bundle(self) -> Bundle:
        return Bundle.load(self.folder.bundle, allow_code=True)
