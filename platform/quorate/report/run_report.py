"""Write the report of a finished run as one HTML file, at the end of the job or later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from quorate.bundle import BundleError, BundleManifest, read_manifest
from quorate.data.dataset import Dataset
from quorate.ensemble.ablation import EnsembleChange
from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.errors import UserError
from quorate.plan.identity import derive_seed
from quorate.plan.planner import recipes_of
from quorate.quantities import format_seconds
from quorate.report.page.page import page
from quorate.report.page.rendering import write_page
from quorate.report.page.run import Reproduction, RunData, Split
from quorate.report.page.values import PATIENCE, values_of
from quorate.report.pictures import recorded_curves
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.runs.finished import ReopenError, reopen_job
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import JOB_FILE, job_text
from quorate.runs.leaderboard import Leaderboard
from quorate.spec import JobSpec, without_queries
from quorate.spec.recipe import without_defaults
from quorate.tracking import journal
from quorate.tracking.provenance import FitNumerics, Provenance, read_provenance
from quorate.tracking.timeline import attempts

REPORT = "report.html"
SECONDS, OF_COMBINING = 20.0, 5.0
"""Time that a report requires in a budget: a number of seconds, plus a multiple of the time that combining took.
Assumptions, not measurements."""
QUICK = 2.0
"""Time limit in seconds for removing members, if the job has a budget. An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class RunInputs:
    """The job and the rows of a run, if they are available."""

    spec: JobSpec | None = None
    data: Mapping[str, Dataset] = field(default_factory=dict)
    """Datasets by split: `oof` (the training rows) and `test`."""
    note: str = ""
    """Why something is missing; empty if nothing is."""

    @classmethod
    def of(cls, spec: JobSpec, train: Dataset, test: Dataset | None) -> RunInputs:
        return cls(spec, {"oof": train} | ({"test": test} if test is not None else {}))

    @classmethod
    def reopened(cls, folder: RunFolder) -> RunInputs:
        """The job and the data of a finished run, if available; otherwise `note` has the reason."""
        try:
            job, context = reopen_job(folder)
        except ReopenError as error:
            reason = error.reason[:1].upper() + error.reason[1:]
            return cls(spec_in(folder), note=f"{reason}, so rows are shown by number only.")
        return cls.of(job.spec, context.train, context.test)


def seconds_needed(combining: float) -> float:
    """Seconds that a report requires in a budget; `combining` is the number of seconds that making the ensemble
    took."""
    return SECONDS + OF_COMBINING * combining


def write_report(folder: RunFolder, path: Path, known: RunInputs) -> Path:
    """Write the report of a finished run to `path` atomically; raises `UserError` for a damaged run."""
    written, _ = write_report_and_values(folder, path, known)
    return written


def write_report_and_values(
    folder: RunFolder, path: Path, known: RunInputs, *, quick: bool = False
) -> tuple[Path, dict[str, EnsembleChange]]:
    """As `write_report`; also returns the change of the ensemble without each tested member, by name."""
    run = read_run(folder, known)
    values = values_of(run, patience=QUICK if quick else PATIENCE)
    write_page(path, page(run, values))
    return path, {run.label(place): change for place, change in zip(values.members, values.without, strict=False)}


def read_run(folder: RunFolder, known: RunInputs) -> RunData:
    """Read the input of the page."""
    board, manifest = folder.board(), _manifest(folder)
    oof = _oof(folder, board)
    provenance = _provenance(folder)
    combiner = None
    if (spec := known.spec) is not None:
        recipes = recipes_of(spec, [board.members[member].name for member in oof.members])
        combiner = combiner_of(spec.combiner, board.ensemble.chosen, recipes=recipes)
    class_names = _class_names(manifest, known.data, oof.ensemble.shape[1])
    test = _test(folder, board)
    return RunData(
        board=board,
        class_names=class_names,
        oof=oof,
        test=test,
        facts=tuple(_facts(board, manifest, known.spec, provenance, oof, test)),
        recipe=Reproduction(
            job_in(folder, known.spec),
            tuple(_commands(folder)),
            tuple(_provenance_facts(board, manifest, provenance)),
        ),
        curves=recorded_curves(folder) if provenance else {},
        attempts=attempts(folder.path / journal.NAME) if provenance else (),
        combiner=combiner,
        seed=derive_seed(_seed(known.spec or manifest), "combiner"),
        data=known.data,
        data_note=known.note,
        backbones=BackboneRanking.read(folder),
    )


def _oof(folder: RunFolder, board: Leaderboard) -> Split:
    arrays = folder.arrays("oof.npz")
    rows = np.flatnonzero(np.isfinite(arrays["ensemble"]).all(axis=1))
    covering = [m for m in range(len(board.members)) if arrays["mask"][m, rows].all()]
    dependence = Dependence.saved(arrays)
    return Split(
        "oof",
        tuple(covering),
        arrays["proba"][covering][:, rows],
        arrays["ensemble"][rows],
        arrays["y"][rows],
        rows,
        dependence.take(rows),
    )


def _test(folder: RunFolder, board: Leaderboard) -> Split | None:
    arrays = folder.arrays_if_any("test.npz")
    if arrays is None:
        return None
    tested = [m for m, row in enumerate(board.members) if row.test is not None]
    rows = np.arange(len(arrays["y"]))
    dependence = Dependence.saved(arrays)
    return Split("test", tuple(tested), arrays["proba"][tested], arrays["ensemble"], arrays["y"], rows, dependence)


def _manifest(folder: RunFolder) -> BundleManifest | None:
    """The manifest of the bundle; None if it was removed or has another version. A report does not require it."""
    try:
        return read_manifest(folder.bundle)
    except BundleError:
        return None


def _seed(source: JobSpec | BundleManifest | None) -> int:
    """The seed of the job; 0 if neither the job nor the manifest is available."""
    return source.seed if source is not None else 0


def _class_names(manifest: BundleManifest | None, data: Mapping[str, Dataset], count: int) -> tuple[str, ...]:
    known = manifest.class_names if manifest else next((each.class_names for each in data.values()), ())
    return known if len(known) == count else tuple(f"class {k}" for k in range(count))


def _provenance(folder: RunFolder) -> Provenance | None:
    path = folder.path / journal.NAME
    return read_provenance(path) if path.is_file() else None


def _numerics(fit: FitNumerics) -> str:
    threads = "1 thread" if fit.threads == 1 else f"{fit.threads} threads"
    return f"{fit.device}, {fit.precision}, {threads}"


def _facts(
    board: Leaderboard,
    manifest: BundleManifest | None,
    spec: JobSpec | None,
    provenance: Provenance | None,
    oof: Split,
    test: Split | None,
) -> Iterator[tuple[str, str]]:
    yield "Run", board.run
    if manifest:
        yield "Finished", f"{manifest.created.replace('T', ' ').removesuffix('Z')[:16]} UTC"
    yield "Duration", format_seconds(board.seconds)
    kind = f"{spec.data.kind}, " if spec is not None else ""
    if manifest:
        yield "Data", f"{kind}{manifest.input.signature}"
    rows = (
        f"{len(oof):,} training"
        if len(oof) == _training_rows(manifest, oof)
        else f"{len(oof):,} of {_training_rows(manifest, oof):,} training"
    )
    yield "Rows", f"{rows}, {len(test):,} test" if test is not None else f"{rows}, no test rows"
    yield "Classes", f"{oof.ensemble.shape[1]:,}"
    if provenance is not None and provenance.validation is not None:
        yield "Validation", provenance.validation
    weighing = sum(bool(row.weight) for row in board.members)
    yield (
        "Members",
        f"{len(board.members)}, {weighing} with weight above 0" if weighing > 1 else f"{len(board.members)}",
    )
    yield "Combined by", board.ensemble.combiner
    tasks = board.tasks
    failed = f", {tasks.failed} failed" if tasks.failed else ""
    yield "Fit tasks", f"{tasks.trained} trained, {tasks.reused} reused{failed}"


def _training_rows(manifest: BundleManifest | None, oof: Split) -> int:
    """Training rows of the job, including those without an out-of-fold prediction."""
    return manifest.data.rows if manifest else len(oof)


def _provenance_facts(
    board: Leaderboard, manifest: BundleManifest | None, provenance: Provenance | None
) -> Iterator[tuple[str, str]]:
    if manifest:
        yield "seed", str(manifest.seed)
    elif provenance is not None and provenance.seed is not None:
        yield "seed", provenance.seed
    if provenance is not None:
        for context, digest in provenance.digests.items():
            yield f"fingerprint of the {'training' if context == 'training' else 'test'} data (SHA-256)", digest
    yield "out-of-fold predictions of all members (SHA-256)", board.oof_sha256
    if manifest:
        yield "versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    if provenance is not None and provenance.numerics:
        yield "computed on", "; ".join(map(_numerics, provenance.numerics))
    if provenance is not None and provenance.hosts:
        yield "machines", ", ".join(provenance.hosts)


def _commands(folder: RunFolder) -> Iterator[str]:
    run = folder.address
    if folder.origin is None:
        yield f"quorate train {folder.path / JOB_FILE}       # the same job again"
    yield f"quorate report --run {run}         # write this page again"
    yield f"quorate diagnose --run {run}       # what limits it, and what to do next"
    yield f"quorate evaluate DATA --run {run}  # other rows with known classes"
    yield f"quorate predict FILES --run {run}"
    yield f"quorate serve --run {run}"


def job_in(folder: RunFolder, spec: JobSpec | None) -> str:
    """The job of a run as a job file; as its record has it if `spec`, the job, is not available."""
    if spec is None:
        return job_text(folder.path / JOB_FILE)
    return yaml.safe_dump(without_queries(without_defaults(spec)), sort_keys=False, allow_unicode=True, width=100)


def spec_in(folder: RunFolder) -> JobSpec | None:
    """The job of a run, even if files that it names are missing; None if it cannot be read."""
    try:
        return folder.spec()
    except UserError:
        return None
