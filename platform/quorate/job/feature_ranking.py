"""Rank frozen networks by what their features say about the training rows of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.data.dataset import Rows
from quorate.errors import UserError
from quorate.job.candidate_vectors import CandidateVectors, candidate_vectors
from quorate.job.fits import FitRunner
from quorate.members.backbone import Backbone, check_backbone
from quorate.members.backbone_score import FeatureScores, score_features
from quorate.plan.identity import derive_seed
from quorate.plan.tasks import JobData
from quorate.runs.backbone_ranking import BackboneRanking, BackboneUse, RankedBackbone
from quorate.spec import JobSpec

MOST_ROWS = 10_000
"""Largest number of training rows that a ranking uses. An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class FeatureRanking:
    """The scores of frozen networks on some rows, and the parts of these rows that the folds of the job train on."""

    scores: dict[Backbone, FeatureScores]
    """The best first."""
    rows: Rows
    """The rows that the scores are about, as positions in the training rows of the job."""
    folds: tuple[Rows, ...]
    """For each fold, the positions in `rows` of the rows that it trains on."""
    names: Mapping[Backbone, str]

    def best(self, among: Collection[Backbone], keep: int, rows: Rows | None = None) -> tuple[Backbone, ...]:
        """The networks with the lowest log-loss of the probe; with `rows`, on these positions in `self.rows`."""
        ordered = sorted(
            (one for one in self.scores if one in among), key=lambda one: self.scores[one].probe_loss(rows)
        )
        return tuple(ordered[:keep])

    def use(self, member: str, among: Sequence[Backbone], keep: int) -> BackboneUse:
        """Which networks a member keeps, and in how many folds the fold's training rows alone give the same."""
        kept, names = self.best(among, keep), self.names
        agreeing = sum(set(self.best(among, keep, rows)) == set(kept) for rows in self.folds)
        of = tuple(names[one] for one in self.scores if one in among)
        return BackboneUse(member=member, of=of, kept=tuple(names[one] for one in kept), agreeing_folds=agreeing)

    def record(self, vectors: CandidateVectors, uses: Sequence[BackboneUse] = ()) -> BackboneRanking:
        networks = tuple(
            RankedBackbone(
                name=self.names[one],
                arch=one.arch,
                weights=str(one.weights),
                size=one.size,
                width=vectors.found[one].shape[1],
                knn_accuracy=scores.knn_accuracy(),
                probe_accuracy=scores.probe_accuracy,
                probe_nll=scores.probe_loss(),
                seconds=vectors.seconds[one],
            )
            for one, scores in self.scores.items()
        )
        left_out = {one.arch: reason for one, reason in vectors.left_out.items()}
        return BackboneRanking(
            rows=len(self.rows), folds=len(self.folds), networks=networks, left_out=left_out, uses=tuple(uses)
        )


def names_of(backbones: Iterable[Backbone]) -> dict[Backbone, str]:
    """A short name for each network, for tables and as a part of the names of members.

    Networks of the same architecture are numbered in the order of the job file.
    """
    plain = {one: one.arch.partition("/")[2].replace(".", "_") for one in backbones}
    several, seen = Counter(plain.values()), Counter[str]()
    for one, name in plain.items():
        if several[name] > 1:
            seen[name] += 1
            plain[one] = f"{name}-{seen[name]}"
    return plain


def rank_features(
    vectors: CandidateVectors, data: JobData, names: Mapping[Backbone, str], *, seed: int
) -> FeatureRanking:
    """Rank the networks on the rows that the folds train on, at most `MOST_ROWS` of them.

    The validation rows of a single holdout fold are not used. With several folds, each row is a training row of some.
    """
    train = data.train
    rows = np.unique(np.concatenate([fold.train for fold in data.folds.folds]))
    rows = rows[np.bincount(train.y[rows], minlength=train.n_classes)[train.y[rows]] > 1]
    if len(rows) > MOST_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64)]
        rows = rows[np.bincount(train.y[rows], minlength=train.n_classes)[train.y[rows]] > 1]
    groups = None if train.groups is None else train.groups[rows]
    scores = {
        one: score_features(matrix[rows], train.y[rows], groups=groups, seed=derive_seed(seed, "backbones"))
        for one, matrix in vectors.found.items()
    }
    ordered = dict(sorted(scores.items(), key=lambda item: item[1].probe_loss()))
    folds = tuple(np.flatnonzero(np.isin(rows, fold.train)) for fold in data.folds.folds)
    return FeatureRanking(ordered, rows, folds, names)


def rank_given(
    candidates: Sequence[Backbone],
    names: Mapping[Backbone, str],
    data: JobData,
    runner: FitRunner,
    spec: JobSpec,
) -> BackboneRanking:
    """Rank networks for a command. Features that are not in the store are computed and kept there.

    Raises `UserError` for networks that do not suit the data, and if no weights are available.
    """
    for one in candidates:
        try:
            check_backbone(one, data.train.signature)
        except ValueError as error:
            raise UserError(f"{one.arch}: {error}") from None
    vectors = candidate_vectors(candidates, data, runner, spec.execution)
    return rank_features(vectors, data, names, seed=spec.seed).record(vectors)
