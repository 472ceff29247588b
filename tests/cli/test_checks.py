"""`quorate lr-find`, `overfit`, `curves` and `diagnose` as commands: what they print, write and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.jobs import NET, Here

JOB = {
    "name": "checked",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {"mlp": {**NET, "arch": "mlp", "epochs": 4}, "bayes": "naive_bayes"},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}

Quorate = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("checked"))
    here.run(JOB, pictures=True)
    return here


@pytest.fixture
def quorate(here: Here, quorate_in: Quorate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quorate:
    """The exit code, output and errors of a command in this process, in the job's folder, with a store elsewhere."""
    monkeypatch.setenv("QUORATE_STORE", str(tmp_path / "store"))
    return partial(quorate_in, here.folder)


def test_lr_find_suggests_and_draws_a_rate_and_writes_nothing_else_but_its_work(here: Here, quorate: Quorate) -> None:
    before = sorted(here.folder.rglob("*"))

    code, out, _ = quorate("lr-find", "job.yaml", "mlp", "-o", "lr.png", "--steps", "60")

    assert code == 0
    assert "suggested: " in out
    assert "too low below" in out
    assert "the learning rate of the job, 0.05, " in out
    assert sorted(here.folder.rglob("*")) == sorted([*before, here.folder / "lr.png"])
    code, out, _ = quorate("lr-find", "job.yaml", "mlp", "--json", "--steps", "60", "--set", "members.mlp.lr=0.5")
    assert json.loads(out)["rate"] == 0.5


def test_overfit_ends_with_1_if_the_member_cannot_overfit(quorate: Quorate) -> None:
    code, out, _ = quorate("overfit", "job.yaml", "mlp", "--epochs", "100")
    assert code == 0
    assert out.startswith("mlp has memorized 32 rows of 10 classes after")

    code, out, _ = quorate("overfit", "job.yaml", "mlp", "--epochs", "1", "--json")
    assert code == 1
    assert json.loads(out)["memorized"] is False


def test_curves_are_drawn_at_the_end_of_a_run_and_again_on_request(
    here: Here, quorate: Quorate, tmp_path: Path
) -> None:
    plots = here.newest_run() / "plots"
    names = {f"{stem}{ending}" for stem in ("curves", "curves-mlp") for ending in (".png", ".svg")}
    assert {path.name for path in plots.iterdir()} >= names
    journal = (here.newest_run() / "journal.jsonl").read_text()
    assert '"uid": "job", "path": "plots/curves.svg"' in journal
    assert '"uid": "job/mlp", "path": "plots/curves-mlp.png"' in journal

    code, out, _ = quorate("curves", "-o", str(tmp_path / "again"))

    assert code == 0
    assert "wrote 4 pictures to" in out
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (plots / name).read_bytes(), name


def test_diagnose_says_what_to_do_next(here: Here, quorate: Quorate) -> None:
    code, out, _ = quorate("diagnose", "--target", "0.99")

    assert code == 0
    assert "checked" in out
    assert "Ensemble" in out
    assert "next: " in out
    code, out, _ = quorate("diagnose", "--run", here.newest_run().name, "--target-loss", "0.02", "--json")
    found = json.loads(out)
    assert found["target"] == {"measure": "loss", "error": 0.02, "given": True}
    assert [member["name"] for member in found["members"]] == ["mlp", "bayes"]
    assert found["ensemble"]["valid"]["value"] == pytest.approx(here.board()["ensemble"]["oof"]["nll"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lr-find", "missing.yaml", "mlp"), "cannot read the job file"),
        (("lr-find", "job.yaml", "cnn"), "the job has no member 'cnn' (its members: mlp, bayes)"),
        (("lr-find", "job.yaml", "bayes"), "bayes is of kind naive_bayes, but the range test requires a network"),
        (
            ("lr-find", "job.yaml", "mlp", "--from", "1", "--to", "0.1"),
            "--from 1 --to 0.1: learning rates must be above 0",
        ),
        (("lr-find", "job.yaml", "mlp", "--from", "0"), "learning rates must be above 0"),
        (
            ("lr-find", "job.yaml", "mlp", "-o", "lr.gif"),
            "-o lr.gif: the file name must end with one of .png, .svg, .pdf",
        ),
        (("lr-find", "job.yaml", "mlp", "-o", "no/lr.png"), "-o no/lr.png: the folder "),
        (("lr-find", "job.yaml", "mlp", "--set", "members.mlp.lrr=1"), "did you mean 'lr'"),
        (("overfit", "job.yaml", "mpl"), "did you mean 'mlp'?"),
        (("overfit", "job.yaml", "mlp", "--rows", "1"), "--rows"),
        (("curves", "--run", "nothing"), "there is no run 'nothing'"),
        (("curves", "-o", "job.yaml"), "-o job.yaml: this is a file; name a folder"),
        (("diagnose", "--run", "nothing"), "there is no run 'nothing'"),
        (("diagnose", "--target", "98"), "--target 98: an accuracy must be between 0 and 1"),
        (("diagnose", "--target-loss", "-1"), "--target-loss -1: a log-loss must be finite and at least 0"),
        (("diagnose", "--target", "0.9", "--target-loss", "0.1"), "give either --target or --target-loss"),
    ],
)
def test_user_errors_end_with_code_2(quorate: Quorate, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = quorate(*arguments)

    assert code == 2
    assert words in err
