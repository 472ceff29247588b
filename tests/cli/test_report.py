"""`quorate report`, and the report that `quorate train` writes: from real runs, in their folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.jobs import NET, Here
from tests.report.finished import Parsed, addresses

from quorate.report.run_report import REPORT, RunInputs, read_run, write_report
from quorate.runs.folder import RunFolder
from quorate.spec import load_job
from quorate.spec.recipe import without_defaults

JOB: dict[str, Any] = {
    "name": "seen",
    "data": {"kind": "digits", "limit": 500, "test": {"fraction": 0.3}},
    "validation": {"folds": 2},
    "members": {
        "svm": {"kind": "svm", "C": 10},
        "forest": {"kind": "random_forest", "trees": 20},
        "mlp": {**NET, "arch": "mlp"},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}

Quorate = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("seen"))
    here.run(JOB, pictures=True)
    return here


@pytest.fixture
def copied(here: Here, tmp_path: Path) -> Iterator[Here]:
    """A copy of the run that tests may damage."""
    shutil.copytree(here.folder / "runs", tmp_path / "runs")
    yield Here(tmp_path)


def test_a_finished_job_has_a_report_and_sends_it_to_mlflow(here: Here) -> None:
    run = here.newest_run()

    parsed = Parsed((run / REPORT).read_text())

    for split in ("oof", "test"):
        for metric, value in here.board()["ensemble"][split].items():
            assert parsed.figures[f"{split}-{metric}"] == f"{value:.4f}"
    assert parsed.figures["best-nll"] == f"{here.board()['ensemble']['best_single']['oof_nll']:.4f}"
    assert not addresses((run / REPORT).read_text())
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert [r["folder"] for r in records if r["kind"] == "artifact" and r["path"] == REPORT and r["uid"] == "job"] == [
        ""
    ]


def test_without_pictures_there_is_no_report(tmp_path: Path) -> None:
    here = Here(tmp_path)

    here.run({**JOB, "members": {"bayes": "naive_bayes"}})

    assert not (here.newest_run() / REPORT).exists()


def test_a_short_budget_skips_the_report_and_the_command_writes_it_later(tmp_path: Path, quorate_in: Quorate) -> None:
    here = Here(tmp_path)
    here.run({**JOB, "members": {"bayes": "naive_bayes"}}, "execution.budget=18s", pictures=True)
    assert not (here.newest_run() / REPORT).exists()

    code, out, _ = quorate_in(tmp_path, "report")

    assert code == 0
    assert out.startswith(f"wrote the report of {here.newest_run().name} to ")
    assert (here.newest_run() / REPORT).exists()


def test_the_command_writes_the_same_page_to_the_requested_path(
    here: Here, quorate_in: Quorate, tmp_path: Path
) -> None:
    output = tmp_path / "page.html"

    code, out, err = quorate_in(here.folder, "report", "--run", here.newest_run().name, "-o", str(output))

    assert (code, err) == (0, "")
    assert f" to {output} (" in out
    own = (here.newest_run() / REPORT).read_text()
    assert output.read_text() == own.replace(str(here.newest_run()), f"runs/{here.newest_run().name}")
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "page.pdf"), "-o page.pdf: the file name must end with one of .html, .htm"),
        (("-o", "no/page.html"), "-o no/page.html: the folder "),
        (("--run", "nothing"), "there is no run 'nothing'"),
    ],
)
def test_user_errors_end_with_code_2(here: Here, quorate_in: Quorate, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = quorate_in(here.folder, "report", *arguments)

    assert code == 2
    assert words in err


def test_the_job_in_the_page_is_the_job(here: Here, tmp_path: Path) -> None:
    job = load_job(here.newest_run() / "job.json")

    text = read_run(RunFolder(here.newest_run()), RunInputs.reopened(RunFolder(here.newest_run()))).recipe.job

    (tmp_path / "again.yaml").write_text(text)
    assert load_job(tmp_path / "again.yaml").spec == job.spec
    assert "cpus" not in text, "a default"
    assert without_defaults(job.spec)["members"]["svm"] == {"kind": "svm", "C": 10.0}


def test_if_the_data_changed_the_page_shows_row_numbers_and_a_note(copied: Here) -> None:
    run = copied.newest_run()
    manifest = json.loads((run / "bundle/manifest.json").read_text())
    manifest["data"]["fingerprint"] = "0" * 64
    (run / "bundle/manifest.json").write_text(json.dumps(manifest))

    text = write_report(RunFolder(run), run / REPORT, RunInputs.reopened(RunFolder(run))).read_text()

    assert "The data have changed since the run, so rows are shown by number only." in text
    assert "data:image/png" not in text


def test_a_run_without_bundle_and_journal_still_has_a_page(copied: Here) -> None:
    run = copied.newest_run()
    shutil.rmtree(run / "bundle")
    (run / "journal.jsonl").unlink()

    parsed = Parsed(write_report(RunFolder(run), run / REPORT, RunInputs.reopened(RunFolder(run))).read_text())

    assert "curves" not in parsed.values("section", "id")
    assert "class 3" in parsed.text, "the names of the classes are in the bundle"


def test_a_damaged_archive_is_named(copied: Here, quorate_in: Quorate) -> None:
    (copied.newest_run() / "oof.npz").write_bytes(b"no archive")

    code, _, err = quorate_in(copied.folder, "report")

    assert code == 2
    assert "oof.npz cannot be read" in err


def test_rows_of_tables_show_their_values(customers: Here) -> None:
    run = RunFolder(customers.newest_run())
    known = RunInputs.reopened(run)

    text = write_report(run, customers.folder / "page.html", known).read_text()

    frame = known.data["oof"].x.frame  # type: ignore[union-attr]
    with np.load(run.path / "oof.npz") as saved:
        wrong = np.flatnonzero(saved["ensemble"].argmax(axis=1) != saved["y"])
    assert len(wrong)
    surest = wrong[np.argmax(np.load(run.path / "oof.npz")["ensemble"][wrong].max(axis=1))]
    assert f"Row {surest}" in text
    assert f'<th scope="row">visits</th><td class="wrap">{frame["visits"].iloc[surest]:g}</td>' in text
