"""`list`, `schema`, `doctor`, `runs` and `store`, in this process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from scipy import stats
from sklearn.datasets import load_digits
from tests.jobs import SMALL, Here
from tests.store.contents import age

from quorate.cli import app
from quorate.runs.comparison import compare
from quorate.runs.folder import RunFolder
from quorate.runs.history import state_of

Command = Callable[..., tuple[int, str, str]]

LEARNERS = {**SMALL, "members": {"svm": {"kind": "svm", "C": 10}, "logistic": {"kind": "logistic"}}}


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """`small`, the same with weaker learners, and one on fewer rows."""
    here = Here(tmp_path_factory.mktemp("runs"))
    here.run(LEARNERS)
    here.run(LEARNERS, "name=other", "members.svm.C=0.1", "members.logistic.C=0.01")
    here.run(LEARNERS, "name=fewer", "data.limit=200")
    return here


@pytest.fixture
def names(three_runs: Here) -> dict[str, str]:
    """The names of the runs, by job."""
    return {path.name.split("-")[0]: path.name for path in (three_runs.folder / "runs").iterdir()}


@pytest.fixture
def command(quorate_in: Command) -> Command:
    """Runs a command in a folder: exit code, output, errors."""
    return partial(quorate_in, columns=160)


# list


def test_every_registry_is_listed_with_descriptions_and_origins(command: Command, tmp_path: Path) -> None:
    code, text, _ = command(tmp_path, "list")
    _, said, _ = command(tmp_path, "list", "--json")

    listed = json.loads(said)
    assert code == 0
    assert set(listed) == {
        "members", "archs", "augmentations", "calibrations", "combiners", "datasets", "initializations", "optimizers",
        "pretrainings", "schedules",
    }  # fmt: skip
    for kinds in listed.values():
        assert all(kind["name"] in text and kind["description"] and kind["origin"] for kind in kinds)
    svm = next(kind for kind in listed["members"] if kind["name"] == "svm")
    assert svm["origin"] == "built in"
    assert svm["description"].startswith("scikit-learn's SVC")


def test_the_names_of_a_family_are_counted_and_can_be_searched(command: Command, tmp_path: Path) -> None:
    import timm

    _, all_of_them, _ = command(tmp_path, "list", "archs")
    _, found, _ = command(tmp_path, "list", "archs", "--match", "ResNet10")

    assert f"({len(timm.list_models()):,} names" in all_of_them
    assert {line.strip() for line in found.splitlines() if line.startswith("    timm/")} == {
        f"timm/{name}" for name in timm.list_models("*resnet10*")
    }
    assert "small_cnn" not in found


def test_a_kind_is_shown_with_its_keys(command: Command, tmp_path: Path) -> None:
    _, text, _ = command(tmp_path, "list", "members", "svm")
    _, said, _ = command(tmp_path, "list", "members", "net", "--json")

    assert "whole number ≥ 1, ≤ 20" in text
    assert "Kernel coefficient" in text
    keys = {row["name"]: row for row in json.loads(said)["parameters"]}
    assert keys["arch"]["default"] == "required"
    assert keys["augment"]["type"] == "mapping"
    assert keys["optimizer"] == {
        "name": "optimizer",
        "type": "optimizer",
        "default": "sgd",
        "meaning": "The update rule for the weights; see the optimizers below.",
    }
    assert "kind" not in keys


def test_a_user_s_own_kind_is_shown_from_the_present_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "listed_nets.py").write_text(
        "def tiny(shape, n_classes, *, width: int = 8):\n    'A tiny network.'\n    raise NotImplementedError\n"
    )

    code, text, _ = command(tmp_path, "list", "archs", "listed_nets:tiny")

    assert code == 0
    assert "A tiny network." in text
    assert "width" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "member"), "did you mean 'members'"),
        (("list", "members", "svn"), "did you mean 'svm'"),
        (("list", "archs", "nowhere:net"), "nowhere"),
        (("schema", "-o", "no/such/file"), "cannot write no/such/file"),
        (("store",), "there is no store at .quorate/store"),
        (("store", "show", "--store", "s3://bucket"), "a store must be a folder"),
        (("store", "collect", "--store", ".", "--max-size", "much"), "--max-size: 'much'"),
        (("store", "collect", "--store", ".", "--older-than", "30"), "--older-than: '30' has no unit; write '30s'"),
        (("store", "--json", "collect"), "put the options after `collect`"),
        (("runs", "compare", "one"), "at least two runs"),
        (("runs", "compare", "one", "two"), "there is no run 'one'"),
        (("runs", "remove", "one"), "there is no run 'one'"),
        (("runs", "--json", "list"), "put --json after `list`"),
    ],
)
def test_user_errors_end_with_exit_code_2(
    arguments: tuple[str, ...], said: str, command: Command, tmp_path: Path
) -> None:
    code, _, errors = command(tmp_path, *arguments)

    assert code == 2
    assert said in errors
    assert not (tmp_path / ".quorate").exists()


# schema, doctor


def test_the_schema_is_printed_or_written(command: Command, tmp_path: Path) -> None:
    _, printed, _ = command(tmp_path, "schema")
    _, said, _ = command(tmp_path, "schema", "-o", "job.schema.json")

    assert json.loads(printed) == json.loads((tmp_path / "job.schema.json").read_text())
    assert "# yaml-language-server: $schema=job.schema.json" in said


def test_the_doctor_ends_with_1_exactly_where_there_is_a_problem(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quorate.doctor import software

    monkeypatch.setattr(software, "_ASK_TORCH", 'print(\'{"cuda": null, "gpus": [], "bf16": false}\')')
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    code, said, _ = command(tmp_path, "doctor", "--json")
    assert (code, [row for row in json.loads(said) if row["level"] == "problem"]) == (0, [])

    (tmp_path / "token").touch(mode=0o644)
    _, said, _ = command(tmp_path, "doctor", "--json")
    (problem,) = [row for row in json.loads(said) if row["level"] == "problem"]
    code, said, _ = command(tmp_path, "doctor")

    assert problem == {
        "what": "Ray's token",
        "level": "problem",
        "message": f"{tmp_path}/token has mode 0644: other users can read the token and run code on your Ray",
        "fix": f"chmod 600 {tmp_path}/token",
    }
    assert code == 1
    assert f"fix: chmod 600 {tmp_path}/token" in said
    assert "1 problem" in said
    for what in ("python", "CPU", "memory", "store", "runs", "tracking", "port 8000", "Ray's token"):
        assert what in said


# runs


def test_runs_are_listed_newest_first_with_their_figures(
    command: Command, three_runs: Here, names: dict[str, str]
) -> None:
    code, said, _ = command(three_runs.folder, "runs", "--json")
    runs = json.loads(said)

    assert code == 0
    assert [run["name"] for run in runs] == [names["fewer"], names["other"], names["small"]]
    board = json.loads((three_runs.folder / "runs" / names["small"] / "leaderboard.json").read_text())
    small = runs[2]
    assert (small["state"], small["data"], small["members"]) == ("finished", "digits", 2)
    assert small["oof_nll"] == board["ensemble"]["oof"]["nll"]
    assert small["test_accuracy"] == board["ensemble"]["test"]["accuracy"]
    folder = three_runs.folder / "runs" / names["small"]
    assert small["size"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _, table, _ = command(three_runs.folder, "runs", "list", columns=120)
    assert all(name in table for name in names.values())
    assert max(map(len, table.splitlines())) <= 120


def test_runs_are_compared_by_the_paired_difference_of_their_losses(
    command: Command, three_runs: Here, names: dict[str, str]
) -> None:
    chosen = [names["small"], names["other"], names["fewer"]]

    _, said, _ = command(three_runs.folder, "runs", "compare", *chosen, "--json")
    _, text, _ = command(three_runs.folder, "runs", "compare", *chosen)

    found, weaker = json.loads(said), {"members.logistic.C": [1.0, 0.01, 1.0]}
    assert found["parameters"] == {"data.limit": [400, 400, 200], "members.svm.C": [10.0, 0.1, 10.0], **weaker}
    losses = [np.load(three_runs.folder / "runs" / name / "bundle" / "losses.npz")["loss"] for name in chosen[:2]]
    reference = stats.ttest_rel(losses[1], losses[0])
    other, fewer = found["versus"]
    assert other["difference"]["rows"] == 400
    assert other["difference"]["mean"] == pytest.approx(np.mean(losses[1]) - np.mean(losses[0]))
    ratio = other["difference"]["mean"] / other["difference"]["standard_error"]
    assert ratio == pytest.approx(reference.statistic)
    assert fewer["difference"] is None
    assert f"{names['fewer']} and {names['small']} cannot be compared row by row: trained on different rows" in text
    assert f"{names['other']} minus {names['small']}: cross-fitted log-loss" in text
    judged = "within the noise" if abs(ratio) <= 1.96 else "worse by more" if ratio > 0 else "better by more"
    assert judged in text
    assert len(found["members"]["svm"]) == 3
    boards = [json.loads((three_runs.folder / "runs" / name / "leaderboard.json").read_text()) for name in chosen[:2]]
    for metric in ("accuracy", "nll"):
        expected = boards[1]["ensemble"]["test"][metric] - boards[0]["ensemble"]["test"][metric]
        assert other["test"][metric]["value"] == pytest.approx(expected, abs=2e-6)
        assert f"{other['test'][metric]['low']:+.4f}" in text


def test_other_test_rows_of_the_same_labels_are_not_paired(tmp_path: Path) -> None:
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)
    parts = {"train": images[:200], "test": images[200:300], "dark": images[200:300] // 2}
    for name, pixels in parts.items():
        labels = digits.target[:200] if name == "train" else digits.target[200:300]
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels)
    here = Here(tmp_path)
    for name in ("test", "dark"):
        data = {"kind": "npz", "train": "train.npz", "test": f"{name}.npz"}
        here.run({**LEARNERS, "name": name, "data": data})
    runs = {path.name.split("-")[0]: RunFolder(path) for path in (tmp_path / "runs").iterdir()}

    (versus,) = compare([runs["test"], runs["dark"]]).versus

    assert versus.difference is not None and versus.test is None


@pytest.fixture
def folder(three_runs: Here, names: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """A folder of runs that tests may change: `done`, and other files next to it."""
    import shutil

    shutil.copytree(three_runs.folder / "runs" / names["small"], tmp_path / "runs" / "done")
    yield tmp_path


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"ensemble": '], ids=repr)
def test_a_damaged_leaderboard_is_reported_and_the_run_can_be_removed(
    content: str, command: Command, folder: Path
) -> None:
    run = next(folder.glob("runs/*"))
    (run / "leaderboard.json").write_text(content)

    code, out, _ = command(folder, "runs", "list", "--json")
    assert code == 0
    assert [found["state"] for found in json.loads(out) if found["name"] == run.name] == ["damaged"]
    for arguments in (("leaderboard", "--run", run.name), ("runs", "compare", run.name, run.name)):
        code, _, err = command(folder, *arguments)
        assert code == 2
        assert "leaderboard.json is damaged; start the job again" in err
    assert command(folder, "runs", "remove", run.name, "--yes")[0] == 0
    assert not run.exists()


def test_a_leaderboard_of_a_later_version_is_refused_and_its_run_counts_as_finished(
    command: Command, folder: Path
) -> None:
    run = next(folder.glob("runs/*"))
    (run / "leaderboard.json").write_text('{"version": 2}')

    code, out, _ = command(folder, "runs", "list", "--json")
    (found,) = [found for found in json.loads(out) if found["name"] == run.name]
    assert (code, found["state"], found["members"], found["oof_nll"]) == (0, "finished", 2, None)
    for arguments in (("leaderboard", "--run", run.name), ("runs", "compare", run.name, run.name)):
        code, _, err = command(folder, *arguments)
        assert code == 2
        assert "leaderboard.json has version 2, but this Quorate reads versions up to 1" in " ".join(err.split())


def test_a_run_is_removed_and_the_others_stay(command: Command, folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "precious").write_text("kept")
    (folder / "runs" / "done" / "link").symlink_to(folder / "elsewhere")

    code, said, _ = command(folder, "runs", "remove", "runs/done", "--yes")

    assert (code, said) == (0, "removed done\n")
    assert list((folder / "runs").iterdir()) == []
    assert (folder / "elsewhere" / "precious").read_text() == "kept"


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("link", "is a link to"),
        ("elsewhere/run", "is not in"),
        ("runs/../elsewhere/run", "is not in"),
        ("runs", "there is no run 'runs'"),
        ("..", "there is no run '..'"),
        ("bundle-only", "there is no run"),
    ],
)
def test_only_runs_of_the_folder_are_removed(run: str, said: str, command: Command, folder: Path) -> None:
    (folder / "elsewhere" / "run").mkdir(parents=True)
    (folder / "elsewhere" / "run" / "job.json").write_text("{}")
    (folder / "runs" / "link").symlink_to(folder / "elsewhere" / "run")
    (folder / "runs" / "bundle-only").mkdir()
    before = sorted(folder.rglob("*"))

    code, _, errors = command(folder, "runs", "remove", "done", run, "--yes")

    assert code == 2
    assert said in errors
    assert sorted(folder.rglob("*")) == before, "not even the sound one"


def test_without_a_terminal_removal_requires_yes(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        code, _, errors = command(folder, "runs", "remove", "done")

    assert code == 2
    assert "give --yes" in errors
    assert (folder / "runs" / "done").is_dir()


WRITING = """
import os, signal, sys
from pathlib import Path
from quorate.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    journal.end("job", line.strip(), 0)
    journal.close()
    break
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the journal of the run `going` open, as a job has."""
    run = folder / "runs" / "going"
    run.mkdir()
    (run / "job.json").write_text((folder / "runs" / "done" / "job.json").read_text())
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(run / "journal.jsonl")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_whose_process_lives_is_running_and_not_removed(
    command: Command, folder: Path, writer: subprocess.Popen[str]
) -> None:
    run = RunFolder(folder / "runs" / "going")
    assert state_of(run) == "running"

    code, _, errors = command(folder, "runs", "remove", "going", "--yes")

    assert code == 2
    assert "going is running; stop it first" in errors
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert state_of(run) == "interrupted"
    assert command(folder, "runs", "remove", "going", "--yes")[0] == 0
    assert not run.path.exists()


@pytest.mark.parametrize(("status", "state"), [("FAILED", "failed"), ("KILLED", "interrupted")])
def test_the_state_of_an_unfinished_run_comes_from_its_journal(
    status: str, state: str, folder: Path, writer: subprocess.Popen[str]
) -> None:
    writer.communicate(f"{status}\n")

    assert state_of(RunFolder(folder / "runs" / "going")) == state


def test_a_run_with_a_damaged_journal_is_damaged_and_still_listed(
    command: Command, folder: Path, writer: subprocess.Popen[str]
) -> None:
    journal = folder / "runs" / "going" / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"kind": "end", "uid": "job"}\n')
    assert state_of(RunFolder(journal.parent)) == "running"
    writer.kill()
    writer.wait()

    assert state_of(RunFolder(journal.parent)) == "damaged"
    assert "going" in command(folder, "runs")[1]


def test_a_run_that_is_being_created_counts_as_running(folder: Path) -> None:
    run = folder / "runs" / "new"
    run.mkdir()
    (run / "job.json").write_text("{}")

    assert state_of(RunFolder(run)) == "running"
    age(run / "job.json", 3600)
    assert state_of(RunFolder(run)) == "interrupted"


# store


def test_the_store_can_be_shown_and_garbage_collected(command: Command, three_runs: Here, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(three_runs.folder / "store", tmp_path / ".quorate" / "store")
    store = tmp_path / ".quorate" / "store"
    _, said, _ = command(tmp_path, "store", "--json")
    shown = json.loads(said)
    assert shown["kinds"]["svm"]["count"] == shown["kinds"]["logistic"]["count"] == 6
    assert shown["bytes"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file() and p.name != ".lock")
    _, text, _ = command(tmp_path, "store")
    assert "unnamed blobs" in text and "random_forest" not in text

    for path in store.rglob("*"):
        if path.is_file():
            age(path, 40 * 86400)
    _, dry, _ = command(tmp_path, "store", "collect", "--older-than", "30d", "--dry-run")
    assert "would be removed" in dry and "unused fits" in dry
    assert json.loads(command(tmp_path, "store", "show", "--json")[1])["bytes"] == shown["bytes"]
    _, limited, _ = command(tmp_path, "store", "collect", "--max-size", "300KiB", "--json")
    assert json.loads(limited)["after"] <= 300 * 1024
    _, done, _ = command(tmp_path, "store", "collect", "--older-than", "30d")
    assert "removed" in done
    assert json.loads(command(tmp_path, "store", "show", "--json")[1])["spaces"]["fits"]["count"] == 0


def test_a_job_on_a_collected_store_trains_again_and_gives_the_same(three_runs: Here, tmp_path: Path) -> None:
    here = Here(tmp_path)
    first = here.run(LEARNERS)
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            age(path, 7200)
    from quorate.store import open_store
    from quorate.store.collection import RetentionRules, collect

    begun = time.monotonic()
    collect(open_store(str(tmp_path / "store")), RetentionRules(max_size=0))
    again = here.run(LEARNERS)

    assert time.monotonic() - begun < 60
    assert (first["tasks"]["trained"], again["tasks"]["trained"]) == (4, 4)
    assert again["oof_sha256"] == first["oof_sha256"]


# what the texts of commands look like


def test_a_kind_without_its_package_is_listed_with_the_command_that_installs_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "xgboost" else found(name, *rest)
    )

    _, text, _ = command(tmp_path, "list", "members")
    _, one, _ = command(tmp_path, "list", "members", "xgboost")
    _, said, _ = command(tmp_path, "list", "members", "--json")

    (line,) = [line for line in text.splitlines() if line.startswith("  xgboost ")]
    assert line.split()[-2:] == ["not", "installed"]
    for shown in (text, one):
        assert "xgboost is not installed: " in shown and "pip install" in shown and "'xgboost<4" in shown
    entries = {entry["name"]: entry for entry in json.loads(said)["members"]}
    assert (entries["xgboost"]["origin"], entries["xgboost"]["missing"]) == ("not installed", "xgboost")
    assert (entries["svm"]["origin"], entries["svm"]["missing"]) == ("built in", "")


@pytest.mark.parametrize("columns", [None, 80, 120])
def test_names_of_runs_are_whole_in_a_pipe_and_in_terminals(
    three_runs: Here, quorate_in: Command, names: dict[str, str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    code, text, _ = quorate_in(three_runs.folder, "runs", columns=columns)
    _, compared, _ = quorate_in(three_runs.folder, "runs", "compare", *names.values(), columns=columns)

    assert code == 0
    assert all(name in text.split() for name in names.values())
    assert all(name in compared for name in names.values())
    assert "…" not in text + compared
    assert columns is None or max(map(len, text.splitlines())) <= columns
    assert columns is not None or "test acc." in text, "a pipe has every column"


def every_option() -> Iterator[tuple[str, Any]]:
    """Each option and argument of each command, with the command's name."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        for inner in getattr(command, "commands", {"": command}).values():
            context = inner.make_context(name, [], resilient_parsing=True)
            yield from ((name, param) for param in inner.get_params(context))


def test_help_texts_have_no_brackets_and_no_type_for_flags() -> None:
    found = list(every_option())

    assert len(found) > 80
    assert [name for name, param in found if "[" in (param.help or "")] == [], "rich takes brackets for markup"
    assert {param.metavar for _, param in found if getattr(param, "is_flag", False)} == {""}


def test_each_key_is_explained_in_its_place(command: Command, tmp_path: Path) -> None:
    """`see below` is for docs/jobs.md, where a section follows."""
    _, text, _ = command(tmp_path, "list", "members", "net")
    _, schema, _ = command(tmp_path, "schema")

    assert "see below" not in text + schema
