"""`quorate evaluate`: its figures are scikit-learn's, and people can read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    classification_report,
    confusion_matrix,
    log_loss,
    roc_auc_score,
)
from tests.jobs import Here
from tests.tables import customers as some_customers

from quorate.bundle import Bundle
from quorate.data.source import OpenedData

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(customers: Here, quorate_in: Command) -> Command:
    """Runs a command in this process in the folder of the customers; gives its exit code, output and errors."""
    return partial(quorate_in, customers.folder, columns=100)


def figures(command: Command, *arguments: str) -> dict[str, Any]:
    code, output, errors = command("evaluate", *arguments, "--json")
    assert code == 0, errors
    found: dict[str, Any] = json.loads(output)
    return found


def test_the_metrics_are_those_of_scikit_learn_on_the_predicted_scores(command: Command) -> None:
    found = figures(command, "new.csv")
    _, output, _ = command("predict", "new.csv", "--json")
    proba = np.array([[row["p(no)"], row["p(yes)"]] for row in json.loads(output)])
    y = (some_customers(60, seed=1)["bought"] == "yes").to_numpy().astype(int)

    values = {name: each["value"] for name, each in found["ensemble"].items()}
    expected = {
        "accuracy": accuracy_score(y, proba.argmax(axis=1)),
        "nll": log_loss(y, proba),
        "brier": 2 * brier_score_loss(y, proba[:, 1]),
        "roc_auc": roc_auc_score(y, proba[:, 1]),
        "average_precision": average_precision_score(y, proba[:, 1]),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert all(each["low"] <= each["value"] <= each["high"] for each in found["ensemble"].values())
    assert (found["rows"], found["positive"]) == (60, "yes")
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(y, proba.argmax(axis=1)))
    report = classification_report(y, proba.argmax(axis=1), output_dict=True)
    for k, row in enumerate(found["classes"]):
        assert row["class"] == ["no", "yes"][k]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            tuple(report[str(k)][name] for name in ("precision", "recall", "f1-score", "support")), abs=1e-6
        )
    worst = max(np.flatnonzero(proba.argmax(axis=1) != y), key=lambda row: proba[row].max())
    assert found["mistakes"][0]["input"] == f"new.csv[{worst}]"
    assert found["mistakes"][0]["confidence"] == pytest.approx(proba[worst].max(), abs=1e-6)


def test_members_are_evaluated_next_to_the_ensemble(command: Command, customers: Here) -> None:
    found = figures(command, "new.csv")

    frame = some_customers(60, seed=1)
    members = Bundle.load(customers.newest_run() / "bundle").predict(frame, members=True).members
    assert members is not None and len(members) == 2
    assert {row["name"] for row in found["members"]} == set(members)
    for row in found["members"]:
        proba = members[row["name"]].astype(float)
        expected = log_loss(frame["bought"], proba / proba.sum(axis=1, keepdims=True))
        assert row["nll"] == pytest.approx(expected, abs=1e-5)
    best = min(found["members"], key=lambda row: row["nll"])
    against = found["against_best"]
    assert against["member"] == best["name"]
    for metric in ("accuracy", "nll", "brier"):
        gap = found["ensemble"][metric]["value"] - best[metric]
        assert against[metric]["value"] == pytest.approx(gap, abs=2e-6)
        assert against[metric]["low"] <= against[metric]["value"] <= against[metric]["high"]


def test_people_get_tables_with_every_part(command: Command) -> None:
    code, output, _ = command("evaluate", "new.csv", columns=80)

    assert code == 0
    for words in (
        "60 rows",
        "95% interval",
        "average precision of yes",
        "ensemble",
        "2 yes",
        "new.csv[",
        "forest",
        "its best member here",
    ):
        assert words in output
    assert max(map(len, output.splitlines())) <= 80


def test_absent_classes_and_rows_without_labels_are_reported(command: Command, customers: Here) -> None:
    frame = some_customers(50, seed=4)
    frame["bought"] = frame["bought"].where(frame["bought"] == "yes")
    frame.to_csv(customers.folder / "half.csv", index=False)

    found = figures(command, "half.csv")
    _, output, _ = command("evaluate", "half.csv")

    missing = int(frame["bought"].isna().sum())
    assert (found["rows"], found["unlabelled"]) == (50 - missing, missing)
    assert found["ensemble"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found["classes"][0]["recall"] is None
    assert f"note: {missing} rows without a label were left out" in output
    assert "note: no row has the class no, so its recall is unknown" in output


def test_the_folder_holds_figures_scores_and_pictures(command: Command, tmp_path: Path) -> None:
    found = figures(command, "new.csv", "-o", str(tmp_path / "out"))

    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == found
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert list(scores) == ["input", "label", "class", "p(no)", "p(yes)"]
    assert (scores["label"] == scores["class"]).mean() == pytest.approx(
        found["ensemble"]["accuracy"]["value"], abs=1e-6
    )
    for name in ("confusion.png", "reliability.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_of_images_equals_the_test_of_the_job(
    command: Command, tiny_bundle: Path, digits: OpenedData, tmp_path: Path
) -> None:
    assert digits.test is not None
    pixels = digits.test.x.take(np.arange(len(digits.test)))
    np.savez(tmp_path / "test.npz", images=pixels, labels=digits.test.y)

    found = figures(command, str(tmp_path / "test.npz"), "--run", str(tiny_bundle))

    board = json.loads((tiny_bundle.parent / "leaderboard.json").read_text())
    values = {name: each["value"] for name, each in found["ensemble"].items()}
    assert values == pytest.approx(board["ensemble"]["test"], abs=2e-6)
    tested = {row["name"]: row["test"] for row in board["members"]}
    for row in found["members"]:
        assert {name: row[name] for name in values} == pytest.approx(tested[row["name"]], abs=2e-6)
    _, output, _ = command("evaluate", str(tmp_path / "test.npz"), "--run", str(tiny_bundle))
    assert "Confusion" in output
    assert "ROC AUC" not in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "nothing.csv"), "there is no nothing.csv"),
        (("evaluate", "new.csv", "--label", "jobs"), "did you mean 'job'"),
        (("evaluate", "new.csv", "--label", "job"), "is not a class"),
        (("evaluate", "new.csv", "-o", "new.csv"), "this is a file; name a folder"),
        (("evaluate", "new.csv", "-o", "no/such"), "/no does not exist; create it"),
        (("evaluate", "job.yaml"), "takes tables of 4 columns"),
        (("evaluate", "new.csv", "--run", "nothing"), "there is no run 'nothing'"),
        (("predict", "job.yaml"), "takes tables of 4 columns"),
    ],
)
def test_user_errors_end_with_exit_code_2(command: Command, arguments: tuple[str, ...], said: str) -> None:
    code, _, errors = command(*arguments)

    assert code == 2
    assert said in errors
    assert "Traceback" not in errors


def test_rows_of_groups_are_drawn_in_whole_groups(quorate_in: Command, tmp_path: Path) -> None:
    # given: a table in which each row stands five times, as one household
    frame = some_customers(120, seed=0).loc[lambda rows: rows.index.repeat(5)]
    frame["household"] = np.arange(len(frame)) // 5
    frame.to_csv(tmp_path / "train.csv", index=False)
    new = some_customers(60, seed=1)
    new["household"] = np.arange(60)
    new.to_csv(tmp_path / "once.csv", index=False)
    new.loc[new.index.repeat(5)].to_csv(tmp_path / "copies.csv", index=False)
    here = Here(tmp_path)
    here.run(
        {
            "name": "households",
            "data": {
                "kind": "csv",
                "train": str(tmp_path / "train.csv"),
                "label": "bought",
                "groups": "household",
                "columns": {"id": "ignore"},
            },
            "validation": {"folds": 2},
            "members": {"linear": {"kind": "logistic"}, "forest": {"kind": "random_forest", "trees": 20}},
            "execution": {"executor": "local"},
            "tracking": {"enabled": False},
        }
    )
    asked = partial(quorate_in, tmp_path, columns=100)

    once, copies = figures(asked, "once.csv"), figures(asked, "copies.csv")

    # then: copies tell no more than the rows
    assert (once["groups"], copies["groups"]) == (60, 60)
    for name, figure in once["ensemble"].items():
        assert copies["ensemble"][name] == pytest.approx(figure, abs=1e-3), name
    assert copies["against_best"]["nll"] == pytest.approx(once["against_best"]["nll"], abs=1e-5)
    assert any("60 groups" in note for note in copies["notes"])
