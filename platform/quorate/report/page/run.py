"""The input of the report page: a finished run as arrays and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset
from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.registry import KindParams
from quorate.report.curve_findings import Curves
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.runs.leaderboard import Leaderboard, SplitName
from quorate.tracking.records import AttemptRecord


@dataclass(frozen=True, eq=False)
class Split:
    """Rows (n,) with predictions of the ensemble and of the `members`."""

    name: SplitName
    """`oof` or `test`, as in leaderboards."""
    members: tuple[int, ...]
    """Positions in the leaderboard."""
    proba: Proba
    """Predictions of these members (M, n, K), before temperatures."""
    ensemble: Proba
    """Predictions of the ensemble (n, K)."""
    y: Labels
    rows: NDArray[np.int64]
    """Positions (n,) in the data, counted from 0."""
    dependence: Dependence = INDEPENDENT
    """Which rows (n,) depend on each other."""

    @property
    def words(self) -> str:
        return "out-of-fold rows" if self.name == "oof" else "test rows"

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Reproduction:
    """How to reproduce the run."""

    job: str
    """The job file."""
    commands: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    """Pairs of name and value: seeds, versions, fingerprints."""


@dataclass(frozen=True, eq=False)
class RunData:
    """A finished run, as `quorate.report.run_report` reads it from its folder."""

    board: Leaderboard
    class_names: Sequence[str]
    oof: Split
    test: Split | None
    facts: tuple[tuple[str, str], ...]
    """Pairs of name and value: machine, times, data."""
    recipe: Reproduction
    curves: Mapping[str, Curves] = field(default_factory=dict)
    attempts: Sequence[AttemptRecord] = ()
    """The attempts at tasks, by their start."""
    combiner: Combiner[KindParams] | None = None
    """The combiner of the job, or the candidate that the combiner chose; None if it cannot be loaded."""
    seed: int = 0
    """Seed of the combiner."""
    data: Mapping[str, Dataset] = field(default_factory=dict)
    """Datasets by the name of the split, if they could be opened again."""
    data_note: str = ""
    """The reason why datasets could not be opened; empty if they could."""
    backbones: BackboneRanking | None = None
    """The ranking of frozen networks; None if the job chose none."""

    @cached_property
    def names(self) -> list[str]:
        """Names of the members, in the order of the leaderboard."""
        return [row.name for row in self.board.members]

    @cached_property
    def weights(self) -> Floats:
        """Weights of all members of the leaderboard."""
        return np.array([row.weight for row in self.board.members])

    @cached_property
    def seconds(self) -> Floats:
        """Fit time of each member over all folds, in seconds."""
        return np.array([row.fit_seconds for row in self.board.members])

    @cached_property
    def weighing(self) -> list[int]:
        """Positions in `oof.members` of the members with weight above 0, the largest weight first."""
        own = [place for place, member in enumerate(self.oof.members) if self.weights[member] > 0]
        return sorted(own, key=lambda place: -self.weights[self.oof.members[place]])

    @property
    def splits(self) -> list[Split]:
        return [self.oof, *([self.test] if self.test is not None else [])]

    def label(self, place: int) -> str:
        """The name of the member at a position of `oof.members`."""
        return self.names[self.oof.members[place]]
