"""`quorate distill` and `quorate soup` as commands: what they print, write and refuse."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.jobs import Here

from quorate.cli.distill import distill
from quorate.compress.distillation import DistillationSettings
from quorate.data.source import OpenedData

Command = Callable[..., tuple[int, str, str]]
SMALL = ("--student", "{kind: mlp, hidden: [12]}", "--epochs", "2")


@pytest.fixture
def quorate(teachers: Here, quorate_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("QUORATE_STORE", str(tmp_path / "own store"))
    return partial(quorate_in, teachers.folder, columns=80)


@pytest.fixture
def labelled(digits: OpenedData, tmp_path: Path) -> Path:
    """Forty test digits in a file."""
    assert digits.test is not None
    path = tmp_path / "labelled.npz"
    rows = np.arange(40)
    np.savez(path, images=digits.test.x.take(rows), labels=digits.test.y[rows])  # type: ignore[union-attr]
    return path


def usable(quorate: Command, folder: Path, labelled: Path) -> None:
    """Check that the bundle in `folder` predicts and can be evaluated like any other."""
    code, out, err = quorate("predict", str(labelled), "--run", str(folder))
    assert code == 0, err
    assert len(out.splitlines()) == 41
    code, out, err = quorate("evaluate", str(labelled), "--run", str(folder), "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 40


def test_distill_writes_a_bundle_that_other_commands_accept(quorate: Command, tmp_path: Path, labelled: Path) -> None:
    folder = tmp_path / "student"

    code, out, err = quorate("distill", *SMALL, "--plain", "-o", str(folder))

    assert code == 0, err
    lines = out.splitlines()
    assert "trained on 216 rows, 24 held out" in lines[0]
    assert max(map(len, lines[:10])) <= 80
    for words in ("ensemble (teacher)", "student (mlp)", "plain (labels only)", "instead of", "on the test rows"):
        assert words in out
    assert f"quorate serve --run {folder}" in out
    usable(quorate, folder, labelled)


def test_the_json_output_of_distill_equals_the_content_of_the_bundle(quorate: Command, tmp_path: Path) -> None:
    code, out, _ = quorate("distill", *SMALL, "-o", str(tmp_path / "student"), "--json", "--hard", "0.3")

    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "student/distillation.json").read_text())
    assert json.loads(out)["training"]["hard"] == 0.3


def test_the_progress_of_a_pretrained_student_is_shown(quorate: Command, tmp_path: Path) -> None:
    pretrained = ("--set", "pretrain={kind: autoencoder, epochs: 1}", "--views", "1")

    code, out, err = quorate("distill", *SMALL, *pretrained, "-o", str(tmp_path / "student"), "--json")

    assert code == 0, err
    assert json.loads(out)["epochs"] == 2


def test_the_command_and_the_python_function_have_the_same_defaults() -> None:
    given = {name: parameter.default for name, parameter in inspect.signature(distill).parameters.items()}

    assert DistillationSettings() == DistillationSettings(
        given["temperature"], given["hard"], given["views"], given["plain"]
    )


def test_soup_writes_a_bundle_that_other_commands_accept(
    quorate: Command, teachers: Here, tmp_path: Path, labelled: Path
) -> None:
    folder, store = tmp_path / "soup", str(teachers.folder / "store")

    code, out, err = quorate("soup", "--store", store, "-o", str(folder))

    assert code == 0, err
    for words in ("2 members, slow, fast", "(best alone)", "soup, calibrated", "is the optimism of the choice"):
        assert words in " ".join(out.split())
    assert "left out: fresh: it has other starting weights" in out
    usable(quorate, folder, labelled)
    code, out, _ = quorate("soup", "--store", store, "-o", str(tmp_path / "two"), "--members", "slow,fast", "--json")
    assert code == 0
    assert json.loads(out)["members"] == ["slow", "fast"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("distill",), "--student"),
        (("distill", "--student", "small_cn"), "did you mean 'small_cnn'"),
        (("distill", "--student", "mlp", "--run", "nothing"), "there is no run 'nothing'"),
        (("distill", "--student", "mlp", "-o", "store"), "store exists; choose another folder with -o"),
        (("distill", "--student", "mlp", "-o", "no/where"), "/no does not exist; create it"),
        (("distill", "--student", "mlp", "--hard", "2"), "--hard"),
        (("distill", "--student", "mlp", "--temperature", "0"), "--temperature"),
        (("distill", "--student", "mlp", "--epochs", "0"), "--epochs"),
        (("soup", "--run", "nothing"), "there is no run 'nothing'"),
        (("soup", "--members", "slow,mlp", "--store", "store"), "--members mlp: the run has no member with this name"),
        (("soup", "--members", "slow,svm", "--store", "store"), "svm: it is not a network (kind svm)"),
        (("soup", "--members", ","), "--members is empty"),
    ],
)
def test_user_errors_end_with_code_2(quorate: Command, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = quorate(*arguments)

    assert code == 2
    assert words in " ".join(err.split())
    assert "Traceback" not in err
