"""Score a finished ensemble on the train-dev rows, which are not used for training, validation or selection."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quorate.bundle import Bundle
from quorate.data.dataset import Dataset
from quorate.ensemble.metrics import rounded, scores
from quorate.job.leaderboard import split_scores
from quorate.runs.leaderboard import Leaderboard, TrainDevScores

TRAIN_DEV = "train_dev"
"""The name of these rows in a leaderboard, and of the file with the probabilities."""


def score_train_dev(board: Leaderboard, bundle: Path, rows: Dataset, folder: Path) -> Leaderboard:
    """The leaderboard with scores of the ensemble, and of the members with weight, on these rows.

    The bundle predicts the rows in this process. The probabilities are written to `train_dev.npz` in the run folder.
    """
    answer = Bundle.load(bundle, allow_code=True).predict(rows.x, members=True)
    assert answer.members is not None, "asked for"
    names = list(answer.members)
    path = folder / f"{TRAIN_DEV}.npz"
    partial = path.with_name(f".{path.name}")
    np.savez(
        partial,
        allow_pickle=False,
        ensemble=answer.proba,
        proba=np.stack([answer.members[name] for name in names]),
        members=np.array(names),
        y=rows.y,
        **({} if rows.groups is None else {"groups": rows.groups}),
    )
    partial.replace(path)
    ensemble = TrainDevScores(**rounded(scores(answer.proba, rows.y)), rows=len(rows))
    return board.with_train_dev(ensemble, {name: split_scores(proba, rows.y) for name, proba in answer.members.items()})
