"""Split the rows of a run into those that a student is trained on and those that score it."""

from __future__ import annotations

import numpy as np

from quorate.compress.student import NAME
from quorate.data.dataset import Rows
from quorate.data.folds import Fold, FoldsError, learnable_rows
from quorate.data.splitting import make_folds
from quorate.errors import UserError
from quorate.plan.identity import derive_seed
from quorate.runs.finished import FinishedRun
from quorate.spec import ValidationSpec

HELD_OUT = 0.1
"""Fraction of the rows that the student is not trained on. An assumption, not a measurement."""


def rows_of_student(run: FinishedRun) -> Fold:
    """The training rows of the student and the held-out rows: a stratified tenth with out-of-fold probabilities.

    Held-out rows are left out if no training row has their class. No group is in both sets, and if rows have a time,
    the latest ones are held out. If at most a tenth of the rows have out-of-fold probabilities, as with `scheme:
    holdout`, all of these are held out, because no member was trained on them. The same applies if they exceed a tenth
    by fewer rows than there are classes.
    """
    data, fold = run.context.train, _whole_split(run)
    learnable = learnable_rows(data.y, [fold], weight=data.weight)[fold.valid]
    if np.count_nonzero(learnable) < 2:
        raise UserError(
            f"cannot score the student: only {np.count_nonzero(learnable)} of the {len(fold.valid):,} held-out rows "
            "have a class that is also in the training rows; at least 2 are required; add rows of each class (with "
            "groups, add more groups that contain each class)"
        )
    return Fold(fold.train, fold.valid[learnable])


def _whole_split(run: FinishedRun) -> Fold:
    """Like `rows_of_student`, but with all held-out rows."""
    data, known = run.context.train, np.flatnonzero(run.known)
    if len(known) < HELD_OUT * len(data) + max(data.n_classes, 2):
        return Fold(np.flatnonzero(~run.known), known)
    groups = data.groups[known] if data.groups is not None else None
    time = data.time[known] if data.time is not None else None
    holdout = ValidationSpec(scheme="holdout", fraction=HELD_OUT * len(data) / len(known))
    try:
        seed = derive_seed(run.job.spec.seed, NAME, "holdout")
        (fold,) = make_folds(data.y[known], holdout, seed, groups=groups, time=time).folds
    except FoldsError as error:
        raise UserError(
            f"cannot hold out rows to score the student, a tenth of the {len(known):,} rows with out-of-fold "
            f"predictions: {error}"
        ) from None
    held: Rows = known[fold.valid]
    rest = np.ones(len(data), bool)
    rest[held] = False
    if data.groups is not None:
        rest &= ~np.isin(data.groups, data.groups[held])
    return Fold(np.flatnonzero(rest), held)
