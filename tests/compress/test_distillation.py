"""A student learns the ensemble's predictions, is scored on held-out rows, and is reproducible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from tests.jobs import Here, runner_with

from quorate.bundle import LOSSES, Bundle
from quorate.compress import distillation as distilling
from quorate.compress.distillation import DistillationSettings, distill, student_job
from quorate.data.table import Table
from quorate.ensemble.temperature_scaling import apply_temperature
from quorate.errors import UserError
from quorate.members import net
from quorate.members.base import load_member
from quorate.runs.finished import FinishedRun, reopen
from quorate.runs.folder import RunFolder
from quorate.spec import load_job
from quorate.training import procedures
from quorate.training.loop import LoopSettings

SMALL = "{kind: mlp, hidden: [12]}"


def run_of(here: Here) -> FinishedRun:
    return reopen(RunFolder(here.newest_run()))


def taught(run: FinishedRun, output: Path, *overrides: str, arch: str = SMALL, epochs: int = 3, **lesson: Any):
    job = student_job(run.folder, arch=arch, epochs=epochs, overrides=overrides)
    return distill(run, job, DistillationSettings(**lesson), output, runner_with(output.with_suffix(".store")))


def files_in(folder: Path) -> dict[str, bytes]:
    """The files without the manifest, which contains the time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def test_the_same_run_gives_the_same_student_bit_by_bit(teachers: Here, tmp_path: Path) -> None:
    run = run_of(teachers)

    one = taught(run, tmp_path / "student", plain=True)
    other = taught(run, tmp_path / "two", plain=True)

    assert one == other
    assert files_in(tmp_path / "student") == files_in(tmp_path / "two")


def test_the_figures_are_those_of_the_bundle_on_the_test_rows(teachers: Here, tmp_path: Path) -> None:
    run = run_of(teachers)

    found = taught(run, tmp_path / "student")

    assert run.context.test is not None
    proba = Bundle.load(tmp_path / "student").predict(run.context.test.x).proba
    by_name = {row["name"]: row for row in found["compared"]}
    assert by_name["student"]["test"]["nll"] == pytest.approx(log_loss(run.context.test.y, proba), abs=1e-5)
    assert by_name["student"]["test"]["accuracy"] == pytest.approx(
        accuracy_score(run.context.test.y, proba.argmax(axis=1)), abs=1e-6
    )
    board = run.folder.board()
    best = board.ranked[0]
    assert board.ensemble.test is not None and best.test is not None
    assert by_name["ensemble"]["test"] == board.ensemble.test.by_name
    assert by_name[best.name]["test"] == best.test.by_name
    assert json.loads((tmp_path / "student" / distilling.FIGURES).read_text()) == found


def test_the_temperature_is_the_best_one_for_the_held_out_rows(teachers: Here, tmp_path: Path) -> None:
    run = run_of(teachers)
    found = taught(run, tmp_path / "student")

    with np.load(tmp_path / "student" / LOSSES) as saved:
        held = np.flatnonzero(np.isfinite(saved["loss"]))
    assert len(held) == found["training"]["held_out"] == 24
    rows = run.context.train.take(held)
    raw = load_member(tmp_path / "student/members/student/0").predict_proba(rows.x).astype(np.float64)
    best = minimize_scalar(
        lambda t: log_loss(rows.y, apply_temperature(proba=raw, temperature=t), labels=range(10)),
        bounds=(0.05, 20),
        method="bounded",
    )
    assert found["temperature"] == pytest.approx(best.x, rel=1e-3)
    conformal = Bundle.load(tmp_path / "student").conformal
    assert conformal is not None
    np.testing.assert_array_equal(conformal.y, rows.y)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, LoopSettings]]:
    """The images of each student as it takes them, (n, C, H, W), and its recipe."""
    calls: list[tuple[np.ndarray, LoopSettings]] = []
    plain = procedures.fit_network

    def noting(network: Any, *, train: Any, recipe: LoopSettings, **given: Any):
        calls.append((train[0].batch(torch.arange(len(train[0]))).numpy(), recipe))
        return plain(network, train=train, recipe=recipe, **given)

    monkeypatch.setattr(procedures, "fit_network", noting)
    return calls


def test_without_views_the_student_learns_neither_from_held_out_rows_nor_from_in_sample_predictions(
    teachers: Here, tmp_path: Path, seen: list[tuple[np.ndarray, LoopSettings]]
) -> None:
    run = run_of(teachers)

    # when
    taught(run, tmp_path / "student", temperature=1.0, hard=0.0, views=0)

    # then
    ((x, recipe),) = seen
    with np.load(tmp_path / "student" / LOSSES) as saved:
        learned = np.flatnonzero(np.isnan(saved["loss"]))
    assert len(x) == len(learned) == 216
    assert recipe.soft is not None
    np.testing.assert_allclose(recipe.soft.targets.numpy(), run.ensemble[learned], atol=1e-6)


def test_the_student_learns_the_predictions_of_the_whole_ensemble_for_exactly_its_own_views(
    teachers: Here, tmp_path: Path, seen: list[tuple[np.ndarray, LoopSettings]]
) -> None:
    run = run_of(teachers)

    taught(run, tmp_path / "student", "standardize=none", epochs=4, temperature=1.0, hard=0.25, views=4)

    ((x, recipe),) = seen
    with np.load(tmp_path / "student" / LOSSES) as saved:
        learned = np.flatnonzero(np.isnan(saved["loss"]))
    assert len(x) == 4 * len(learned) == 864
    pixels = (x * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    plain = run.context.train.take(learned).x.take(np.arange(216))
    shifts = [np.roll(plain, (down, right), axis=(1, 2))[:, 1:-1, 1:-1] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    mixture = (np.arange(864) // 216 + np.arange(864)) % 2 == 1
    for view, mixed in zip(pixels.reshape(4, 216, 8, 8, 1), mixture.reshape(4, 216), strict=True):
        exact = np.any([(view[:, 1:-1, 1:-1] == shifted).all(axis=(1, 2, 3)) for shifted in shifts], axis=0)
        assert exact[~mixed].all() and exact[mixed].mean() < 0.1
    said = Bundle.load(run.folder.bundle).predict(pixels).proba
    counts = np.where(mixture, 1.0, 0.75)[:, None]  # labels of mixtures say nothing
    assert recipe.soft is not None and recipe.weight is not None
    np.testing.assert_allclose(recipe.soft.targets.numpy(), counts * said, atol=1e-5)
    np.testing.assert_allclose(recipe.weight.numpy(), 1 - counts[:, 0], atol=1e-6)
    assert recipe.parts == 4 and not recipe.augment


UNLABELLED = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def unlabelled(tmp_path: Path) -> Here:
    """A run on 200 images and 30 whose class nobody knows."""
    here = Here(tmp_path)
    np.savez(tmp_path / "more.npz", images=UNLABELLED)
    digits = load_digits()
    images = (digits.images[:200, :, :, None] * 15).astype(np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=digits.target[:200])
    here.run(
        {
            "data": {"kind": "npz", "train": "train.npz", "unlabelled": "more.npz"},
            "validation": {"folds": 2},
            "members": {"svm": {"kind": "svm", "C": 10}},
            "execution": {"executor": "local"},
            "tracking": {"enabled": False},
        }
    )

    return here


def test_the_student_also_learns_from_unlabelled_images(
    tmp_path: Path, unlabelled: Here, seen: list[tuple[np.ndarray, LoopSettings]]
) -> None:
    found = taught(run_of(unlabelled), tmp_path / "student", "standardize=none", views=2, epochs=2)

    ((x, recipe),) = seen
    assert len(x) == 2 * (180 + 30)
    first = (x[180:210] * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(first[::2], UNLABELLED[::2])  # the others are mixtures
    assert recipe.weight is not None
    assert (recipe.weight[180:210] == 0).all() and (recipe.weight[:180:2] > 0).all()
    assert (found["training"]["rows"], found["training"]["unlabelled"]) == (180, 30)


def test_views_that_no_epoch_uses_are_not_predicted(
    teachers: Here, tmp_path: Path, seen: list[tuple[np.ndarray, LoopSettings]]
) -> None:
    found = taught(run_of(teachers), tmp_path / "student", epochs=2, views=1000)

    ((x, recipe),) = seen
    assert found["training"]["views"] == recipe.parts == 2
    assert len(x) == 2 * 216


HELD_OUT_ONCE: dict[str, Any] = {
    "data": {"kind": "digits", "limit": 300},
    "validation": {"scheme": "holdout", "fraction": 0.1},
    "members": {"svm": {"kind": "svm", "C": 10}},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def test_held_out_rows_that_a_refit_was_trained_on_are_reported(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.run({**HELD_OUT_ONCE, "data": {"kind": "digits", "limit": 200, "test": None}, "production": {"refit": True}})
    run = run_of(here)

    views, rows = (taught(run, tmp_path / f"student{views}", views=views)["notes"] for views in (1, 0))

    assert "trained on the held-out rows (refits on all rows)" in views[0]
    assert not any("optimistic" in note for note in rows)


@pytest.mark.parametrize("fraction", [0.1, 0.12])
def test_the_validation_rows_of_one_small_fold_are_those_held_out(tmp_path: Path, fraction: float) -> None:
    here = Here(tmp_path)
    here.run({**HELD_OUT_ONCE, "validation": {"scheme": "holdout", "fraction": fraction}})
    run = run_of(here)

    found = taught(run, tmp_path / "student", views=1)

    with np.load(tmp_path / "student" / LOSSES) as saved:
        np.testing.assert_array_equal(np.isfinite(saved["loss"]), run.known)
    assert found["notes"] == []


def test_rows_that_no_fold_validates_are_learned_from_their_labels(tmp_path: Path) -> None:
    here = Here(tmp_path)
    job = {
        "data": {"kind": "digits", "limit": 300},
        "validation": {"scheme": "holdout", "fraction": 0.5},
        "members": {"svm": {"kind": "svm", "C": 10}},
        "execution": {"executor": "local"},
        "tracking": {"enabled": False},
    }
    here.run(job)

    found = taught(run_of(here), tmp_path / "student", views=0)

    assert found["training"] | {"temperature": 0, "hard": 0} == {
        "temperature": 0,
        "hard": 0,
        "views": 0,
        "rows": 270,
        "unlabelled": 0,
        "rows_with_teacher": 120,
        "held_out": 30,
    }
    assert found["notes"] == [
        "150 of 270 rows have no out-of-fold prediction of the ensemble, so the student learns them from their "
        "labels only; with validation.scheme: kfold, all rows have one"
    ]


def test_a_table_is_distilled_too(customers: Here, tmp_path: Path) -> None:
    run = run_of(customers)

    found = taught(run, tmp_path / "student", "lr=0.02")

    assert [row["name"] for row in found["compared"]] == ["ensemble", found["compared"][1]["name"], "student"]
    assert all("test" not in row for row in found["compared"])
    assert found["notes"] == [
        "the held-out metrics of the student are slightly optimistic: it learned from predictions of models that were "
        "trained on the held-out rows (models of other folds); only test rows give an unbiased estimate"
    ]
    assert len(Bundle.load(tmp_path / "student").predict(run.context.train.x).proba) == 240


def test_the_student_of_a_table_learns_the_predictions_of_the_whole_ensemble_for_mixtures_of_its_rows(
    customers: Here, tmp_path: Path, seen: list[tuple[np.ndarray, LoopSettings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(customers)
    asked, plain = list[Table](), Bundle.predict

    def noting(self: Bundle, x: Table, *given: Any, **more: Any) -> Any:
        asked.append(x)
        return plain(self, x, *given, **more)

    monkeypatch.setattr(Bundle, "predict", noting)

    found = taught(run, tmp_path / "student", epochs=4, temperature=1.0, views=3)

    # then: most values are those of the training rows, and none of the labels count
    with np.load(tmp_path / "student" / LOSSES) as saved:
        learned = run.context.train.take(np.flatnonzero(np.isnan(saved["loss"]))).x
    assert isinstance(learned, Table) and len(asked) == 3
    for view in asked:
        same = (view.frame["age"] == learned.frame["age"])[learned.frame["age"].notna()]
        assert 0.75 < same.mean() < 0.95
    ((x, recipe),) = seen
    assert len(x) == 3 * len(learned) and recipe.parts == 3
    assert recipe.soft is not None and recipe.weight is not None
    bundle = Bundle.load(run.folder.bundle)
    said = np.concatenate([plain(bundle, view).proba for view in asked])
    np.testing.assert_allclose(recipe.soft.targets.numpy(), said, atol=1e-6)
    assert (recipe.weight == 0).all()
    assert (found["training"]["views"], found["training"]["hard"]) == (3, 0.0)


def test_labels_of_mixtures_are_refused(customers: Here, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--hard 0.5: .* mixtures of rows, which have no labels; .* --views 0"):
        taught(run_of(customers), tmp_path / "student", hard=0.5)

    found = taught(run_of(customers), tmp_path / "student", hard=0.5, views=0)
    assert found["training"]["hard"] == 0.5


def test_the_student_varies_its_images_as_the_best_network_does(teachers: Here) -> None:
    folder = RunFolder(teachers.newest_run())
    best = next(row.name for row in folder.board().ranked if row.kind == "net")
    theirs = load_job(folder.path / "job.json").spec.members[best].augment

    def of(*overrides: str) -> Any:
        return student_job(folder, arch="mlp", epochs=None, overrides=overrides).spec.members["student"]

    assert of().augment == theirs
    assert of().epochs == distilling.EPOCHS
    assert str(of("augment={mirror: true}").augment) == "mirror: true"


@pytest.mark.parametrize(
    ("figures", "kept"),
    [
        ({"ensemble": (0.9, 0.3), "student": (0.85, 0.4), "plain": (0.8, 0.5)}, {"accuracy": 0.5, "nll": 0.5}),
        ({"ensemble": (0.8, 0.3), "student": (0.7, 0.6), "plain": (0.8, 0.5)}, {"accuracy": None, "nll": -0.5}),
    ],
)
def test_the_kept_share_of_the_gain_equals_a_manual_calculation(figures: dict[str, Any], kept: dict[str, Any]) -> None:
    rows = [{"name": name, "test": {"accuracy": a, "nll": n}} for name, (a, n) in figures.items()]

    assert distilling._kept(rows) == {"rows": "test", **kept}


@pytest.mark.parametrize(
    ("arch", "overrides", "words"),
    [
        ("small_cn", (), "--student small_cn: members.student.arch: unknown architecture 'small_cn'; did you mean"),
        ("{kind: mlp, hiden: [3]}", (), "did you mean 'hidden'"),
        ("{kind: mlp", (), "is not valid YAML"),
        ("mlp", ("lrr=1",), "--set lrr=1: members.student.lrr: unknown key 'lrr'; did you mean 'lr'"),
        ("mlp", ("lr=x",), "--set lr=x: members.student.lr: should be a valid number"),
        ("mlp", ("kind=svm",), "--set kind=svm: a student is always a network (kind net); remove this option"),
        ("mlp", ("copies=2",), "copies=…: this creates several members"),
        ("mlp", ("ema=0.9",), "ema=…: this creates several members"),
        ("mlp", ("epochs",), "expected KEY=VALUE"),
    ],
)
def test_errors_of_the_student_name_the_option(
    teachers: Here, arch: str, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError) as raised:
        student_job(RunFolder(teachers.newest_run()), arch=arch, epochs=None, overrides=overrides)

    assert words in str(raised.value)


def test_an_architecture_that_does_not_take_the_rows_is_refused(customers: Here, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="arch small_cnn does not accept"):
        taught(run_of(customers), tmp_path / "student", arch="small_cnn")


def test_the_unlabelled_images_of_a_pretraining_come_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlabelled: Here
) -> None:
    pools: list[int] = []
    plain = net.pretrain

    def noting(*given: Any, feeds: Any, **more: Any) -> Any:
        pools.append(sum(map(len, feeds)))
        return plain(*given, feeds=feeds, **more)

    monkeypatch.setattr(net, "pretrain", noting)

    found = taught(
        run_of(unlabelled), tmp_path / "student", "pretrain={kind: autoencoder, epochs: 1}", views=2, plain=True
    )

    assert pools == [2 * (180 + 30), 180 + 30]
    assert found["epochs"] == 3


def test_a_student_that_diverges_is_named(teachers: Here, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the student network cannot be trained: .*; see --set"):
        taught(run_of(teachers), tmp_path / "student", "lr=100", "l1=1e30")


@pytest.fixture
def copied(teachers: Here, tmp_path: Path) -> RunFolder:
    """A copy of the run that tests may damage."""
    path = tmp_path / "copied"
    shutil.copytree(teachers.newest_run(), path)
    return RunFolder(path)


def changed(folder: RunFolder, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder.path / "job.json"
    job = json.loads(path.read_text())
    change(job)
    path.write_text(json.dumps(job))


def test_data_that_have_changed_are_refused(copied: RunFolder) -> None:
    changed(copied, lambda job: job["data"].update(limit=200))

    with pytest.raises(UserError) as raised:
        reopen(copied)

    assert str(raised.value).startswith(
        "the data have changed since the run copied (it was trained on 240 rows; now there are 200 "
        "rows, or different ones)"
    )


def test_other_classes_are_refused(copied: RunFolder) -> None:
    path = copied.bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["class_names"] = ["cat", "dog"]
    path.write_text(json.dumps(manifest))

    with pytest.raises(UserError, match="was trained on the classes cat, dog, and its data now have 0, 1, 2"):
        reopen(copied)


def test_a_run_without_its_out_of_fold_predictions_is_refused(copied: RunFolder) -> None:
    (copied.path / "oof.npz").unlink()

    with pytest.raises(UserError, match=r"the run copied has no oof.npz, which holds its out-of-fold predictions"):
        reopen(copied)


@pytest.mark.parametrize("changes", [{"fingerprint": np.array("of others")}, {"y": None}])
def test_different_test_rows_are_left_out_and_reported(copied: RunFolder, changes: dict[str, Any]) -> None:
    with np.load(copied.path / "test.npz") as saved:
        arrays = dict(saved)
    changes = {name: arrays[name][::-1] if value is None else value for name, value in changes.items()}
    np.savez(copied.path / "test.npz", **{**arrays, **changes})

    run = reopen(copied)

    assert run.test is None
    assert run.notes == ("the test rows have changed since the run, so nothing is compared on them",)


def test_a_member_that_has_not_predicted_the_test_rows_is_not_compared_there(
    teachers: Here, copied: RunFolder, tmp_path: Path
) -> None:
    # given: a budget left no time for the test predictions of the leaderboard's best member
    saved, names = copied.arrays("test.npz"), reopen(copied).members
    found = taught(reopen(copied), tmp_path / "whole")["compared"]
    place = names.index(found[1]["name"])
    saved["tested"][place], saved["proba"][place] = False, 0
    np.savez(copied.path / "test.npz", allow_pickle=False, **saved)

    compared = taught(reopen(copied), tmp_path / "student")["compared"]

    assert [row["name"] for row in compared] == [row["name"] for row in found]
    assert "test" in found[1] and "test" not in compared[1]
    assert compared[0]["test"] == found[0]["test"]


def test_a_member_that_does_not_cover_the_held_out_rows_is_not_compared_there(
    teachers: Here, copied: RunFolder, tmp_path: Path
) -> None:
    # given: the leaderboard's best member lacks the first fold
    run = reopen(copied)
    best = run.board.ranked[0].name
    saved, place = copied.arrays("oof.npz"), run.members.index(best)
    lost = run.context.folds[0].valid
    saved["mask"][place, lost] = False
    saved["proba"][place, lost] = 0
    np.savez(copied.path / "oof.npz", allow_pickle=False, **saved)

    found = taught(reopen(copied), tmp_path / "student")

    assert found["compared"][1]["name"] != best
    figures = (tmp_path / "student" / distilling.FIGURES).read_text(encoding="utf-8")
    assert "NaN" not in figures and "null" not in json.dumps(found["compared"])
    assert all(np.isfinite(value) for row in found["compared"] for value in row["held_out"].values())
