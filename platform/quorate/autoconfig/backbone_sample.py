"""Rank frozen networks on a sample of the training images, to choose those that a job starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.autoconfig.backbone_sources import FoundBackbone
from quorate.data.dataset import Dataset
from quorate.data.table import Table
from quorate.errors import UserError
from quorate.job.feature_ranking import names_of
from quorate.members.backbone import Extractor, check_backbone, prepare
from quorate.members.backbone_score import score_features

ROWS = 400
"""Number of images in the sample. An assumption, not a measurement."""
TIMED = 64
"""Number of images to measure the time with. An assumption, not a measurement."""


@dataclass(frozen=True)
class SampledBackbone:
    """A network, how well its features of the sample separate the classes, and how much time they take."""

    name: str
    """A short name for members."""
    found: FoundBackbone
    probe_nll: float
    probe_accuracy: float
    knn_accuracy: float
    side: int
    """The side in pixels of the images of the sample."""
    seconds: float
    """Seconds of one core per image of this side, measured on the sample."""
    trained_side: int | None = None
    """The side of the images that the weights were trained on, if it is known."""

    def seconds_at(self, side: int) -> float:
        """Estimated seconds of one core per image of another side: they grow with its area."""
        return self.seconds * (side / self.side) ** 2


def rank_on_sample(found: Sequence[FoundBackbone], rows: Dataset) -> list[SampledBackbone]:
    """The networks by the log-loss of a linear probe on the same sample of `rows`, the best first.

    Raises `UserError` for a network that cannot take the images, and `HubError` if its weights are not available.
    """
    assert not isinstance(rows.x, Table), "frozen networks are for images"
    drawn = np.sort(np.random.default_rng(0).permutation(len(rows))[:ROWS])
    drawn = drawn[np.isin(rows.y[drawn], np.flatnonzero(np.bincount(rows.y[drawn]) > 1))]
    images, y, shape = rows.x.subset(drawn), rows.y[drawn], rows.x.shape
    names, ranked = names_of(one.backbone for one in found), []
    for one in found:
        try:
            check_backbone(one.backbone, rows.signature)
        except ValueError as error:
            raise UserError(f"{one.backbone.arch}: {error}") from None
        extract = Extractor(one.backbone, shape, prepare(one.backbone, shape), one.backbone.numerics(shape))
        matrix = extract(images)
        assert matrix is not None, "nobody stops it"
        scores = score_features(matrix, y, groups=None, seed=0)
        figures = (scores.probe_loss(), scores.probe_accuracy, scores.knn_accuracy())
        side = one.backbone.size or min(shape[:2])
        seconds = extract.core_seconds(images.subset(np.arange(min(TIMED, len(images)))))
        ranked.append(SampledBackbone(names[one.backbone], one, *figures, side, seconds, one.backbone.trained_side))
    return sorted(ranked, key=lambda one: one.probe_nll)


def described(ranked: Sequence[SampledBackbone]) -> Iterator[str]:
    """One line per network, the best first."""
    for one in ranked:
        figures = f"probe NLL {one.probe_nll:.3f}, accuracy {one.probe_accuracy:.3f}, kNN {one.knn_accuracy:.3f}"
        yield f"{one.name}: {figures}; {one.found.where}"
