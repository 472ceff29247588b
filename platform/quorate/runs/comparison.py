"""Compare finished runs: their metrics, the parameters that differ, and whether the differences in loss exceed the
noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quorate.bundle import LOSSES, read_manifest
from quorate.ensemble.intervals import Figure, paired
from quorate.ensemble.paired import Difference, paired_difference, read_groups, read_losses
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import result_parameters
from quorate.runs.leaderboard import Metric, SplitName, SplitScores, scores_on

SPLITS: tuple[SplitName, ...] = ("oof", "test")
METRICS: tuple[Metric, ...] = ("nll", "accuracy", "ece", "brier")


@dataclass(frozen=True)
class RunDifference:
    """One run compared with the first run: the difference of their cross-fitted losses, or the reason why there is
    none."""

    run: str
    difference: Difference | None
    reason: str = ""
    test: dict[str, Figure] | None = None
    """accuracy, nll and brier minus those of the first run on the same test rows; None without common test rows."""


@dataclass(frozen=True)
class Comparison:
    """Values of several runs. Each list has one value per run, or None."""

    runs: list[str]
    figures: dict[str, list[float | None]]
    members: dict[str, list[float | None]]
    """Out-of-fold log-loss of each member, before temperature and weight."""
    parameters: dict[str, list[Any]]
    """Parameters that differ, by their path in the job file."""
    versus: list[RunDifference]


def compare(runs: Sequence[RunFolder]) -> Comparison:
    """Compare finished runs with the first of them."""
    boards = [run.board() for run in runs]
    figures: dict[str, list[float | None]] = {
        f"{split} {metric}": [_metric(scores_on(board.ensemble, split), metric) for board in boards]
        for split in SPLITS
        for metric in METRICS
    }
    figures["seconds"] = [board.seconds for board in boards]
    losses = [{row.name: _metric(row.oof, "nll") for row in board.members} for board in boards]
    return Comparison(
        runs=[run.name for run in runs],
        figures={name: values for name, values in figures.items() if any(value is not None for value in values)},
        members={name: [of.get(name) for of in losses] for name in dict.fromkeys(n for of in losses for n in of)},
        parameters=_differing([result_parameters(run.path / "job.json") for run in runs]),
        versus=[_against(run, runs[0]) for run in runs[1:]],
    )


def _against(run: RunFolder, first: RunFolder) -> RunDifference:
    mine, other = (read_manifest(folder.bundle).data.fingerprint for folder in (run, first))
    if mine != other:
        return RunDifference(run.name, None, "trained on different rows")
    try:
        losses = [read_losses(folder.bundle / LOSSES) for folder in (run, first)]
        groups = read_groups(run.bundle / LOSSES)
        return RunDifference(
            run.name, paired_difference(losses[0], losses[1], groups=groups), test=_on_test(run, first)
        )
    except (OSError, ValueError, KeyError) as error:
        return RunDifference(run.name, None, str(error))


def _on_test(run: RunFolder, first: RunFolder) -> dict[str, Figure] | None:
    mine, other = (folder.arrays_if_any("test.npz") for folder in (run, first))
    if mine is None or other is None:
        return None
    rows = [str(arrays.get("fingerprint", "")) for arrays in (mine, other)]  # older runs have no fingerprint
    if not rows[0] or rows[0] != rows[1]:
        return None
    return paired(mine["ensemble"], other["ensemble"], mine["y"], groups=mine.get("groups"))


def _differing(jobs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for job in jobs for name in job)
    rows = {name: [job.get(name) for job in jobs] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _metric(found: SplitScores | None, name: Metric) -> float | None:
    return found.metric(name) if found is not None else None
