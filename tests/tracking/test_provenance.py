"""The provenance of a run's results, from its journal."""

from __future__ import annotations

from pathlib import Path

from quorate.tracking.journal import Journal
from quorate.tracking.provenance import FitNumerics, Provenance, read_provenance


def test_the_provenance_of_a_run_names_seed_data_numerics_and_machines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        notes.run("job", name="j", parent=None, tags={}, params={"seed": 7, "validation": "5 folds"}, start_ms=0)
        for context, digest in (("training", "fdeb"), ("testing", "a1b2")):
            notes.dataset("job", name="d", source="d", digest=digest, profile={}, context=context)
        notes.run("job/cnn", name="cnn", parent="job", tags={}, params={"epochs": 3}, start_ms=0)
        for fold, (device, threads, host) in enumerate([("cuda", 1, "b"), ("cpu", 4, "a"), ("cuda", 1, "b")]):
            own = {"device": device, "precision": "bfloat16", "threads": threads}
            notes.run(f"job/cnn/{fold}", name="cnn", parent="job/cnn", tags={}, params=own, start_ms=0)
            notes.tags(f"job/cnn/{fold}", {"quorate.host": host})
        notes.tags("job/cnn", {"quorate.status": "trained"})

    assert read_provenance(path) == Provenance(
        seed="7",
        validation="5 folds",
        digests={"training": "fdeb", "testing": "a1b2"},
        numerics=(FitNumerics("cuda", "bfloat16", 1), FitNumerics("cpu", "bfloat16", 4)),
        hosts=("b", "a"),
    )


def test_a_journal_without_a_job_has_no_provenance(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).close()

    assert read_provenance(path) == Provenance(None, None, {}, (), ())
