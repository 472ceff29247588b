"""Write the report of a finished run as one HTML file, at its end or later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from quorate.bundle import BundleError, read_manifest
from quorate.data.dataset import Dataset
from quorate.data.signature import signature_from_json
from quorate.ensemble.ablation import EnsembleChange
from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.errors import UserError
from quorate.plan.identity import derive_seed
from quorate.plan.planner import recipes_of
from quorate.quantities import format_seconds
from quorate.report.page.page import page
from quorate.report.page.run import Reproduction, RunData, Split
from quorate.report.page.values import PATIENCE, values_of
from quorate.report.pictures import recorded_curves
from quorate.runs.finished import ReopenError, reopen_job
from quorate.runs.folder import RunFolder
from quorate.spec import JobSpec
from quorate.spec.recipe import without_defaults
from quorate.tracking import journal
from quorate.tracking.histories import records

REPORT = "report.html"
SECONDS, OF_COMBINING = 20.0, 5.0
"""Time of a budget that a report requires: seconds, plus a multiple of the time that combining took. Assumptions, not
measurements."""
QUICK = 2.0
"""Time limit of removing members under a budget, in seconds. An assumption, not a measurement."""


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
        """The job and the data of a finished run, if available; `note` says why not."""
        try:
            job, context = reopen_job(folder)
        except ReopenError as error:
            reason = error.reason[:1].upper() + error.reason[1:]
            return cls(_spec(folder), note=f"{reason}, so rows are shown by number only.")
        return cls.of(job.spec, context.train, context.test)


def _spec(folder: RunFolder) -> JobSpec | None:
    """The job of the run, if only its files are missing."""
    try:
        return folder.spec()
    except UserError:
        return None


def seconds_needed(combining: float) -> float:
    """Seconds of a budget that a report requires; `combining` is the time of making the ensemble."""
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
    text = page(run, values)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path, {run.label(place): change for place, change in zip(values.members, values.without, strict=False)}


def read_run(folder: RunFolder, known: RunInputs) -> RunData:
    """Read the input of the page."""
    board, manifest = folder.board(), _manifest(folder)
    oof = _oof(folder, board)
    told = _journal(folder)
    combiner = None
    if (spec := known.spec) is not None:
        recipes = recipes_of(spec, [board["members"][member]["name"] for member in oof.members])
        combiner = combiner_of(spec.combiner, board["ensemble"].get("candidates"), recipes=recipes)
    class_names = _class_names(manifest, known.data, oof.ensemble.shape[1])
    test = _test(folder, board)
    return RunData(
        board=board,
        class_names=class_names,
        oof=oof,
        test=test,
        facts=tuple(_facts(board, manifest, known.spec, told, oof, test)),
        recipe=Reproduction(
            _job_text(folder, known.spec), tuple(_commands(folder)), tuple(_provenance(board, manifest, told))
        ),
        curves=recorded_curves(folder) if told else {},
        combiner=combiner,
        seed=derive_seed(known.spec.seed if known.spec is not None else manifest.get("seed", 0), "combiner"),
        data=known.data,
        data_note=known.note,
    )


def _oof(folder: RunFolder, board: Mapping[str, Any]) -> Split:
    arrays = folder.arrays("oof.npz")
    rows = np.flatnonzero(np.isfinite(arrays["ensemble"]).all(axis=1))
    covering = [m for m in range(len(board["members"])) if arrays["mask"][m, rows].all()]
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


def _test(folder: RunFolder, board: Mapping[str, Any]) -> Split | None:
    arrays = folder.arrays_if_any("test.npz")
    if arrays is None:
        return None
    tested = [m for m, row in enumerate(board["members"]) if row["test"]]
    rows = np.arange(len(arrays["y"]))
    dependence = Dependence.saved(arrays)
    return Split("test", tuple(tested), arrays["proba"][tested], arrays["ensemble"], arrays["y"], rows, dependence)


def _manifest(folder: RunFolder) -> dict[str, Any]:
    """The manifest of the bundle; empty if it was removed or has another version. A report does not require it."""
    try:
        return read_manifest(folder.bundle)
    except BundleError:
        return {}


def _class_names(manifest: Mapping[str, Any], data: Mapping[str, Dataset], count: int) -> tuple[str, ...]:
    known = manifest.get("class_names") or next((each.class_names for each in data.values()), ())
    return tuple(known) if len(known) == count else tuple(f"class {k}" for k in range(count))


@dataclass(frozen=True)
class _JournalFacts:
    """Facts in the journal of the run, without the curves."""

    params: Mapping[str, str]
    """Parameters of the job."""
    digests: Mapping[str, str]
    """Fingerprints of the data by context, `training` or `testing`."""
    numerics: tuple[str, ...]
    hosts: tuple[str, ...]


def _journal(folder: RunFolder) -> _JournalFacts | None:
    path = folder.path / journal.NAME
    if not path.is_file():
        return None
    params: dict[str, str] = {}
    digests: dict[str, str] = {}
    numerics: dict[str, None] = {}
    hosts: dict[str, None] = {}
    for record in records(path):
        if record["kind"] == "run" and record["parent"] is None:
            params = record["params"]
        elif record["kind"] == "run" and "device" in record["params"]:
            own = record["params"]
            threads = "1 thread" if own["threads"] == "1" else f"{own['threads']} threads"
            numerics[f"{own['device']}, {own['precision']}, {threads}"] = None
        elif record["kind"] == "dataset":
            digests[record["context"]] = record["digest"]
        elif record["kind"] == "tags" and (host := _host(record["tags"])):
            hosts[host] = None
    return _JournalFacts(params, digests, tuple(numerics), tuple(hosts))


def _host(tags: Mapping[str, str]) -> str:
    """The machine of a fit task; empty if the tags do not contain it."""
    before = tags.get("quorate.worker", "")  # journals of earlier versions: `HOST:PROCESS`
    return tags.get("quorate.host") or before.rpartition(":")[0] or before


def _facts(
    board: Mapping[str, Any],
    manifest: Mapping[str, Any],
    spec: JobSpec | None,
    told: _JournalFacts | None,
    oof: Split,
    test: Split | None,
) -> Iterator[tuple[str, str]]:
    yield "Run", board["run"]
    if manifest:
        yield "Finished", f"{manifest['created'].replace('T', ' ').removesuffix('Z')[:16]} UTC"
    yield "Duration", format_seconds(board["seconds"])
    kind = f"{spec.data.kind}, " if spec is not None else ""
    if manifest:
        yield "Data", f"{kind}{signature_from_json(manifest['input'])}"
    rows = (
        f"{len(oof):,} training"
        if len(oof) == _training_rows(manifest, oof)
        else f"{len(oof):,} of {_training_rows(manifest, oof):,} training"
    )
    yield "Rows", f"{rows}, {len(test):,} test" if test is not None else f"{rows}, no test rows"
    yield "Classes", f"{oof.ensemble.shape[1]:,}"
    if told is not None and "validation" in told.params:
        yield "Validation", told.params["validation"]
    weighing = sum(bool(row["weight"]) for row in board["members"])
    yield (
        "Members",
        f"{len(board['members'])}, {weighing} with weight above 0" if weighing > 1 else f"{len(board['members'])}",
    )
    yield "Combined by", board["ensemble"]["combiner"]
    tasks = board["tasks"]
    failed = f", {tasks['failed']} failed" if tasks["failed"] else ""
    yield "Fit tasks", f"{tasks['trained']} trained, {tasks['reused']} reused{failed}"


def _training_rows(manifest: Mapping[str, Any], oof: Split) -> int:
    """Training rows of the job, including those without an out-of-fold prediction."""
    return int(manifest["data"]["rows"]) if manifest else len(oof)


def _provenance(
    board: Mapping[str, Any], manifest: Mapping[str, Any], told: _JournalFacts | None
) -> Iterator[tuple[str, str]]:
    if "seed" in manifest:
        yield "seed", str(manifest["seed"])
    elif told is not None:
        yield "seed", told.params["seed"]
    if told is not None:
        for context, digest in told.digests.items():
            yield f"fingerprint of the {'training' if context == 'training' else 'test'} data (SHA-256)", digest
    yield "out-of-fold predictions of all members (SHA-256)", board["oof_sha256"]
    if versions := manifest.get("versions"):
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    if told is not None and told.numerics:
        yield "computed on", "; ".join(told.numerics)
    if told is not None and told.hosts:
        yield "machines", ", ".join(told.hosts)


def _commands(folder: RunFolder) -> Iterator[str]:
    run = folder.path
    yield f"quorate train {run / 'job.json'}       # the same job again"
    yield f"quorate report --run {run}         # write this page again"
    yield f"quorate diagnose --run {run}       # what limits it, and what to do next"
    yield f"quorate evaluate DATA --run {run}  # other rows with known classes"
    yield f"quorate predict FILES --run {run}"
    yield f"quorate serve --run {run}"


def _job_text(folder: RunFolder, spec: JobSpec | None) -> str:
    if spec is None:
        return (folder.path / "job.json").read_text(encoding="utf-8")
    return yaml.safe_dump(without_defaults(spec), sort_keys=False, allow_unicode=True, width=100)
