"""Compute the cost and value of an ensemble's members, and write bundles with fewer members."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import (
    LOSSES,
    UNSEEN,
    Bundle,
    BundleCombination,
    BundleFile,
    BundleMetrics,
    BundlePruning,
    CopiedFile,
    hashes_of,
    verified_manifest,
    write_bundle,
)
from quorate.bundle.timing import member_milliseconds
from quorate.ensemble.ablation import Ablation, PrunedEnsemble
from quorate.ensemble.assemble import assemble
from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.metrics import scores
from quorate.ensemble.pruning_path import PruningPath
from quorate.errors import UserError
from quorate.job.bundle_files import losses_file, unseen_file
from quorate.plan.identity import derive_seed
from quorate.plan.planner import recipes_of
from quorate.runs.errors import RunError
from quorate.runs.folder import BOARD, RunFolder, tested_members
from quorate.runs.job_record import JOB_FILE

MOST_ROWS = 20_000
"""Maximum number of rows for estimating the value of members; if there are more, a sample is drawn with the job's seed.
An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class OofRows:
    """The out-of-fold data of a run: probabilities (M, N, K) where `mask` (M, N), labels (N,), the dependence of rows,
    and `learnable` (N,), the rows that choices are based on."""

    names: list[str]
    proba: NDArray[np.float32]
    mask: NDArray[np.bool_]
    y: NDArray[np.int64]
    dependence: Dependence
    learnable: NDArray[np.bool_]

    @classmethod
    def of(cls, folder: RunFolder) -> OofRows:
        """Read them from a run; raises `RunError` if the run does not have them."""
        saved = folder.arrays("oof.npz")
        learnable = saved.get("learnable", np.ones(len(saved["y"]), bool))  # runs of older versions use all rows
        return cls(
            saved["members"].tolist(), saved["proba"], saved["mask"], saved["y"], Dependence.saved(saved), learnable
        )

    def take(self, names: tuple[str, ...]) -> OofRows:
        places = [self.names.index(name) for name in names]
        return OofRows(list(names), self.proba[places], self.mask[places], self.y, self.dependence, self.learnable)


def pruning_path(folder: RunFolder, *, by_cost: bool = True) -> PruningPath:
    """The cost of each member of a finished run, and the smaller ensembles; raises `UserError`.

    With `by_cost`, members with the lowest value per millisecond are removed first, otherwise those with the lowest
    value.
    """
    bundle = Bundle.load(folder.bundle, allow_code=True)
    names = tuple(member.name for member in bundle.manifest.packed)
    if len(names) < 2:
        raise UserError(f"the ensemble of {folder.name} has only the member {names[0]}, so there is nothing to prune")
    spec, saved, board = folder.spec(), OofRows.of(folder), folder.board()
    seconds = {row.name: row.fit_seconds for row in board.members}
    in_job = [name for name in names if name.partition(".")[0] in spec.members]
    _check_members(folder, names, {BOARD: seconds, "oof.npz": saved.names, JOB_FILE: in_job})
    rows = saved.take(names)
    covered = np.flatnonzero(rows.mask.all(axis=0) & rows.learnable)
    if len(covered) > MOST_ROWS:
        drawn = np.random.default_rng(derive_seed(spec.seed, "prune"))
        covered = np.sort(drawn.choice(covered, MOST_ROWS, replace=False))
    ablation = Ablation.of(
        proba=rows.proba[:, covered],
        y=rows.y[covered],
        combiner=combiner_of(spec.combiner, board.ensemble.chosen, recipes=recipes_of(spec, names)),
        seed=derive_seed(spec.seed, "combiner"),
        dependence=rows.dependence.take(covered),
    )
    milliseconds = member_milliseconds(bundle)
    costs = np.array([milliseconds[name] for name in names])
    fitted = np.array([seconds[name] for name in names])
    steps = tuple(ablation.eliminate(costs, by_cost=by_cost))
    return PruningPath(names, costs, fitted, steps, len(covered))


def _check_members(folder: RunFolder, names: Sequence[str], files: Mapping[str, Collection[str]]) -> None:
    """Raise `RunError` if a file of the run lacks a member of the bundle; `files` has the members of each file."""
    for file, members in files.items():
        if missing := [name for name in names if name not in members]:
            raise RunError(
                f"{folder.path / file} lacks the member {missing[0]} of the bundle, so they do not belong together; "
                "restore the file from a copy, or start the job again"
            )


def prune(folder: RunFolder, found: PruningPath, step: PrunedEnsemble, out: Path) -> dict[str, Any]:
    """Write the bundle of the remaining members of a step to `out`, and return its metrics; raises `UserError`.

    The members are combined again on all out-of-fold rows, and the estimate is cross-fitted.
    """
    spec, names = folder.spec(), tuple(found.names[m] for m in step.left)
    rows = OofRows.of(folder).take(names)
    manifest = verified_manifest(folder.bundle)
    assembly = assemble(
        proba=rows.proba,
        mask=rows.mask,
        y=rows.y,
        combiner=combiner_of(spec.combiner, folder.board().ensemble.chosen, recipes=recipes_of(spec, names)),
        seed=derive_seed(spec.seed, "combiner"),
        names=list(names),
        dependence=rows.dependence,
        learnable=rows.learnable,
    )
    before = {member.name: member for member in manifest.members}
    members = tuple(
        before[name].reweighted(weight=float(weight), temperature=temperature)
        for name, weight, temperature in zip(
            names, assembly.combination.weights, assembly.combination.temperatures, strict=True
        )
    )
    places = tuple(f"{place}/" for member in members for place in member.folds)
    files: dict[str, BundleFile] = {
        name: CopiedFile(folder.bundle / name, sha256)
        for name, sha256 in manifest.files.items()
        if not name.startswith("members/") or name.startswith(places)
    }
    files |= {
        LOSSES: losses_file(assembly.row_losses, rows.dependence.groups),
        UNSEEN: unseen_file(assembly.crossfit_proba, assembly.rows, rows.y),
    }
    test = _test(folder, rows.names)
    metrics = BundleMetrics(
        oof=assembly.scores, test=scores(assembly.combination.apply(test[0]), test[1]) if test is not None else None
    )
    changes = {
        "members": members,
        "combination": BundleCombination.of(assembly.combination),
        "quorum": spec.quorum.of(sum(bool(member.folds) for member in members)),
        "metrics": metrics,
        "pruned": BundlePruning(run=folder.name, members=tuple(found.names), **vars(step.change)),
        "files": hashes_of(files),
    }
    write_bundle(out, manifest.model_copy(update=changes), files)
    return {
        "bundle": str(out),
        "members": list(names),
        "predict_ms": sum(member_milliseconds(Bundle.load(out, allow_code=True)).values()),
        "metrics": metrics.model_dump(),
        "before": manifest.metrics.model_dump(),
        "change": vars(step.change),
    }


def _test(folder: RunFolder, names: list[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Probabilities (M, n, K) and labels (n,) of the test rows; None if a member has not predicted them."""
    saved = folder.arrays_if_any("test.npz")
    if saved is None:
        return None
    every = OofRows.of(folder).names
    places = [every.index(name) for name in names]
    return (saved["proba"][places], saved["y"]) if tested_members(saved)[places].all() else None
