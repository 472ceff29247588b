"""The real command: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.jobs import SMALL, Here

from quorate.cli import app
from quorate.registry import DATASETS

Quorate = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("finished"))
    here.run(SMALL)
    digits = DATASETS.get("digits")
    pixels = digits.open(digits.Params()).test.x.take(np.arange(20))
    np.savez(here.folder / "new.npz", images=pixels)
    (here.folder / "pictures").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image[..., 0], "L").save(here.folder / "pictures" / f"{number:02}.png")
    return here


def test_train_prints_the_leaderboard_and_what_to_do_next(
    tmp_path: Path, quorate_in: Quorate, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(tmp_path)
    here.write(SMALL)
    monkeypatch.setenv("COLUMNS", "200")

    code, out, errors = quorate_in(here.folder, "train", "job.yaml", "--store", "store")

    assert code == 0, errors
    assert "4 members x 2 folds = 8 fit tasks, 0 reused" in out
    assert "ensemble" in out
    assert f"quorate serve --run runs/{here.newest_run().name}" in out
    monkeypatch.setenv("COLUMNS", "80")
    _, table, _ = quorate_in(here.folder, "leaderboard")
    assert "cnn.2" in table
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_leaderboard_as_json_is_the_file_of_the_run(
    finished: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.folder)

    app(["leaderboard", "--json"], standalone_mode=False)

    assert json.loads(capsys.readouterr().out) == finished.board()


def test_a_dry_run_shows_the_plan_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Here(tmp_path)
    here.write(SMALL)
    monkeypatch.chdir(tmp_path)

    overrides = ("--set", "members.cnn.copies=1", "--seed", "3")
    app(["train", "job.yaml", "--dry-run", "--json", *overrides], standalone_mode=False)

    plan = json.loads(capsys.readouterr().out)
    assert len(plan["tasks"]) == 6
    assert {"member", "fold", "seed", "key", "numerics", "resources", "estimated_seconds"} <= set(plan["tasks"][0])
    assert not (tmp_path / "runs").exists()


def test_predict_writes_the_same_scores_in_every_form(finished: Here, quorate_in: Quorate) -> None:
    for name in ("scores.csv", "scores.parquet", "scores.npz"):
        code, _, errors = quorate_in(finished.folder, "predict", "new.npz", "-o", name)
        assert code == 0, errors
    table = pd.read_csv(finished.folder / "scores.csv")
    expected = np.load(finished.newest_run() / "test.npz")["ensemble"][:20]

    np.testing.assert_allclose(table.filter(like="p(").to_numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        pd.read_parquet(finished.folder / "scores.parquet").iloc[:, 2:].to_numpy(), expected, atol=1e-6
    )
    np.testing.assert_allclose(np.load(finished.folder / "scores.npz")["proba"], expected, atol=1e-6)
    _, out, _ = quorate_in(finished.folder, "predict", "pictures", "--json")
    rows = json.loads(out)
    assert [Path(row["input"]).name for row in rows] == [f"{number:02}.png" for number in range(20)]
    np.testing.assert_allclose([row["p(3)"] for row in rows], expected[:, 3], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "missing.yaml"), ["cannot read the job file"]),
        (("train", "job.yaml", "--set", "members.cnn.epochz=3"), ["members.cnn.epochz", "did you mean 'epochs'"]),
        (("train", "job.yaml", "--executor", "slurm"), ["execution.executor", "'ray' or 'local'"]),
        (("train", "job.yaml", "--set", "data.limit=60", "--set", "validation.folds=19"), ["set validation.folds to"]),
        (("train", "job.yaml", "--store", "s3://bucket"), ["--store s3://bucket"]),
        (
            ("train", "job.yaml", "--executor", "ray", "--address", "127.0.0.1:1"),
            ["no Ray cluster answers at 127.0.0.1:1"],
        ),
        (("leaderboard", "--run", "nothing"), ["there is no run 'nothing'"]),
        (("predict", "nothing.png"), ["there is no nothing.png"]),
        (("predict", "job.yaml"), ["expected a picture (JPEG, PNG,"]),
        (("predict", "new.npz", "-o", "scores.doc"), [".csv, .parquet, .npz"]),
        (("predict", "new.npz", "-o", "no/such/scores.csv"), ["no/such does not exist; create it"]),
        (("predict", "new.npz", "-o", "new.npz"), ["this is an input file, which the output would replace"]),
        (("predict", "new.npz", "-o", "/proc/scores.csv"), ["-o /proc/scores.csv: cannot be written"]),
        (("evaluate", "new.npz", "-o", "/proc/report"), ["-o /proc/report: cannot be written"]),
        (("predict", "new.npz", "--run", ""), ["--run is empty"]),
        (("predict", "new.npz", "--run", "pictures"), ["there is no run 'pictures'"]),
        (("train", "job.yaml", "--budget", "soon"), ["error: --budget soon: execution.budget: 'soon' is not a time"]),
        (("train", "job.yaml", "--budget", "7"), ["'7' has no unit; write '7s', '7m' or '7h'"]),
        (("train", "job.yaml", "--executor", "slurm"), ["error: --executor slurm: execution.executor: 'slurm'"]),
        (("train", "job.yaml", "--set", "members.svm.c=1"), ["--set members.svm.c=1: members.svm.c: unknown key 'c'"]),
        (("serve", "--host", "0.0.0.0"), ["--token-file"]),
        (("serve", "--token-file", "job.yaml.missing"), ["token file"]),
        (("sync", "nothing"), ["there is no run 'nothing'"]),
        (("train",), ["JOB.yaml"]),
        (("dance",), ["dance"]),
    ],
)
def test_user_errors_end_with_code_2_and_no_traceback(
    finished: Here, arguments: tuple[str, ...], words: list[str], quorate_in: Quorate
) -> None:
    code, _, errors = quorate_in(finished.folder, *arguments)

    assert code == 2, errors
    assert "Traceback" not in errors
    for word in words:
        assert word in errors


def test_a_real_process_ends_with_code_2_and_no_traceback(finished: Here) -> None:
    done = finished.command("train", "job.yaml", "--set", "members.cnn.epochz=3")

    assert done.returncode == 2
    assert "members.cnn.epochz: unknown key 'epochz'; did you mean 'epochs'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_bundle_is_named_and_refused(finished: Here, tmp_path: Path, quorate_in: Quorate) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(finished.newest_run() / "bundle", copy)
    victim = next(copy.rglob("member.json"))
    victim.write_text(victim.read_text() + " ")

    for command in (("predict", "new.npz"), ("serve",)):
        code, _, errors = quorate_in(finished.folder, *command, "--run", str(copy))
        assert code == 2
        assert "does not match its SHA-256" in errors
        assert victim.name in errors


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "quorate", "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - begun)
    heavy = (
        "import sys; from quorate.cli import app; "
        "print([m for m in ('torch', 'sklearn', 'ray', 'mlflow', 'pandas', 'numpy') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout

    assert "leaderboard" in done.stdout
    assert loaded.strip() == "[]"
    assert statistics.median(seconds) < 5, "no import of a heavy library is this slow unless one crept in"
