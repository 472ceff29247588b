"""The ensemble of a search's trials against its best trial, and against five copies of it.

Fixed before the first run:

- The searches are those of TPE in `methods` (seeds 0, 1 and 2), and `pipelines/search/vehicle_mlp.yaml` and
  `dna_mlp.yaml` with three seeds: 24 trials of a network, without the portfolio.
- `trials` is the ensemble that a search with `ensemble: 5` chooses: at most five trials by greedy selection with
  replacement. `best` is the best trial, and `copies` five networks with its parameters, which differ in their seeds (a
  deep ensemble). All three are combined by `calibrated_greedy`, which calibrates one member too.
- The figures are those of the test rows: means over the three searches. The intervals of the differences are 95 %
  percentiles of a bootstrap of the test rows, which are the same rows for the three searches; they do not contain the
  variation from search to search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.search.runs import PIPELINES, Kept

from quorate.ensemble import metrics

SEEDS = (0, 1, 2)
NUMBER = 5
JOBS = {"fashion": ("fashion", "cnn"), "vehicle": ("vehicle_mlp", "mlp"), "dna": ("dna_mlp", "mlp")}
"""The job file and the searched member of each data set."""
WAYS = ("trials", "best", "copies")
METRICS = ("accuracy", "nll", "ece")
_RESAMPLES = 1000

Floats = NDArray[np.float64]


def name_of(data: str, way: str, seed: int) -> str:
    return f"ensembles-{data}-{way}-{seed}"


def run(kept: Kept, seeds: Sequence[int]) -> None:
    """Run the searches, and train what they do not have: the copies."""
    for seed in seeds:
        for data, (job, member) in JOBS.items():
            for way, number in (("best", "null"), ("trials", str(NUMBER))):
                settings = (f"seed={seed}", f"members.{member}.search.ensemble={number}")
                name = name_of(data, way, seed)
                kept.search(name, PIPELINES / f"{job}.yaml", member, *settings)
                kept.train(name, kept.emitted(name))
            best = kept.record(name_of(data, "best", seed)).best
            assert best is not None
            copies = kept.emitted(name_of(data, "best", seed))
            kept.train(name_of(data, "copies", seed), copies, f"members.{best.name}.copies={NUMBER}")


@dataclass(frozen=True)
class Tested:
    """The terms of the metrics for each test row: whether it is right, its log-loss, and its part of the ECE."""

    right: Floats
    losses: Floats
    gaps: Floats

    @classmethod
    def of(cls, proba: Floats, y: NDArray[np.int64]) -> Tested:
        right = (proba.argmax(axis=1) == y).astype(np.float64)
        return cls(right, metrics.row_nll(proba, y), metrics.row_gaps(proba, y))

    def figures(self, weights: Floats) -> Floats:
        """The `METRICS` (B, 3) for weights (B, N) of the rows, whose sum is 1."""
        ece = np.abs(weights @ self.gaps).sum(axis=1)
        return np.column_stack([weights @ self.right, weights @ self.losses, ece])


def show(kept: Kept, seeds: Sequence[int]) -> Iterator[str]:
    """The tables, from what is kept."""
    yield f"| data | | members | {' | '.join(METRICS)} |"
    yield f"|{'---|' * (3 + len(METRICS))}"
    lines = []
    for data in JOBS:
        tested = {way: [_tested(kept, name_of(data, way, seed)) for seed in seeds] for way in WAYS}
        for way in WAYS:
            members = [
                sum(row["weight"] > 0 for row in kept.board(name_of(data, way, seed))["members"]) for seed in seeds
            ]
            values = _mean_figures(tested[way], _equal(len(tested[way][0].right)))[0]
            cells = [", ".join(map(str, members)), *(f"{value:.4f}" for value in values)]
            yield f"| {data} | {way} | {' | '.join(cells)} |"
        for other in ("best", "copies"):
            cells = differences(tested["trials"], tested[other])
            lines.append(f"| {data} | trials less {other} | {' | '.join(cells)} |")
    yield ""
    yield f"| data | | {' | '.join(METRICS)} |"
    yield f"|{'---|' * (2 + len(METRICS))}"
    yield from lines


def differences(first: Sequence[Tested], second: Sequence[Tested]) -> list[str]:
    """The metrics of the first less those of the second, as means over the seeds, with intervals over the rows.

    The bootstrap values are shifted so that their mean is the estimate: noise inflates the ECE of a sample.
    """
    rows = len(first[0].right)
    estimate = (_mean_figures(first, _equal(rows)) - _mean_figures(second, _equal(rows)))[0]
    rng = np.random.default_rng(0)
    weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLES) / rows
    drawn = _mean_figures(first, weights) - _mean_figures(second, weights)
    drawn += estimate - drawn.mean(axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [f"{value:+.4f} [{a:+.4f}, {b:+.4f}]" for value, a, b in zip(estimate, low, high, strict=True)]


def _mean_figures(tested: Sequence[Tested], weights: Floats) -> Floats:
    found: Floats = np.mean([one.figures(weights) for one in tested], axis=0)
    return found


def _equal(rows: int) -> Floats:
    return np.full((1, rows), 1 / rows)


def _tested(kept: Kept, name: str) -> Tested:
    """The predictions of an ensemble for the test rows."""
    with np.load(kept.run_folder(name) / "test.npz") as arrays:
        return Tested.of(arrays["ensemble"], arrays["y"])
