"""The training targets of a student: rows with the predictions of a finished run's ensemble."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quorate.bundle import MANIFEST, Bundle
from quorate.data.dataset import ArrayImages, Dataset, Images, JoinedImages, Rows
from quorate.data.table import Table
from quorate.ensemble.arrays import Floats, Mask
from quorate.plan.identity import digest
from quorate.results.results import Results
from quorate.runs.finished import FinishedRun
from quorate.training.augment import Augment
from quorate.training.views import ViewedImages

VIEWS = 10
"""Default number of augmented views per image. An assumption, not a measurement."""
IN_MEMORY = 2 << 30
"""Maximum total size in bytes of views to keep in memory; otherwise the views are drawn again in each epoch. An
assumption, not a measurement."""

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
    """Number of views per image. All images of one view are stored before those of the next. 0 for rows without
    augmentation."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that, with the rows of the run, determine the views."""

    @property
    def rows(self) -> int:
        """Number of rows in an epoch, which uses each image once."""
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

    The predictions of each view are kept in the store, so that an interrupted distillation does not repeat them.

    Teacher and student use the same views, and half of them are mixtures of two images: function matching (Beyer et
    al., 2022, "Knowledge distillation: a good teacher is patient and consistent"). For mixtures and unlabelled images,
    the ensemble's predictions are the only targets.
    """
    data, extra = run.context.train.take(rows), run.context.unlabelled
    assert not isinstance(data.x, Table), "tables have no views"
    images: Images = data.x if extra is None else JoinedImages((data.x, extra))
    seen = ViewedImages(images, augment, views, seed)
    size = len(images) * int(np.prod(images.shape))
    source = {"augment": augment.model_dump(mode="json"), "seed": seed, "unlabelled": run.context.unlabelled_digest}
    manifest = hashlib.sha256((run.folder.bundle / MANIFEST).read_bytes()).hexdigest()
    learned = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
    identity = {"bundle": manifest, "data": run.context.train.fingerprint, "rows": learned, **source}
    teacher: Bundle | None = None
    answers, parts = [], list[Images]()
    for number, rows_of_view in enumerate(np.arange(len(seen)).reshape(views, -1)):
        view = seen.subset(rows_of_view)
        drawn = ArrayImages(seen.take(rows_of_view)) if size <= IN_MEMORY else view
        key = digest(what="teacher", view=number, **identity)
        answer = results.proba(key)
        if answer is None:
            teacher = teacher or Bundle.load(run.folder.bundle, allow_code=True)
            answer = teacher.predict(drawn).proba
            results.keep_prediction(key, answer)
        answers.append(np.asarray(answer, np.float64))
        parts.append(drawn if views * size <= IN_MEMORY else view)
        watch(number + 1, views)
    own = np.arange(len(images)) < len(data)
    guess = answers[0].argmax(axis=1)  # placeholder labels for unlabelled images
    y = np.concatenate([data.y, guess[len(data) :]])
    weight = data.weight
    if weight is not None:
        weight = np.concatenate([weight, np.ones(len(images) - len(data), np.float32)])
    return TeacherTargets(
        Dataset(
            JoinedImages(tuple(parts)),
            np.tile(y, views),
            data.class_names,
            weight=None if weight is None else np.tile(weight, views),
            labels_are=data.labels_are,
        ),
        np.concatenate(answers),
        np.tile(own, views) & ~seen.mixed,
        views,
        source,
    )
