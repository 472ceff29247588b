"""Networks with the same initial weights are averaged fold by fold, selected on some rows and scored on others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import log_loss
from tests.jobs import Here, runner_with

from quorate.bundle import LOSSES, Bundle
from quorate.compress.fold_soup import choose_soups
from quorate.compress.soup import FIGURES, make_soup
from quorate.compress.soup_candidates import find_candidates
from quorate.errors import UserError
from quorate.members.base import member_of
from quorate.members.net import Net
from quorate.runs.finished import FinishedRun, reopen
from quorate.runs.folder import RunFolder


@pytest.fixture(scope="module")
def run(teachers: Here) -> FinishedRun:
    return reopen(RunFolder(teachers.newest_run()))


def found_in(run: FinishedRun, here: Here, members: list[str] | None = None):
    return find_candidates(run, runner_with(here.folder / "store"), members)


def test_members_with_the_same_initial_weights_are_found_and_the_others_are_left_out_with_the_reason(
    run: FinishedRun, teachers: Here
) -> None:
    found = found_in(run, teachers)

    assert [one.label for one in found.chosen] == ["slow", "fast"]
    assert found.left_out == {
        "svm": "it is not a network (kind svm)",
        "other": "it has another architecture (mlp with hidden: [8], not mlp with hidden: [16])",
        "fresh": "it has other starting weights",
    }


def test_the_greedy_choice_equals_a_manual_search_through_all_subsets(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    chosen = found_in(run, teachers).chosen

    for number, soup in enumerate(choose_soups(run, chosen, runner_with(tmp_path))):
        # two members: greedy is the best subset, unless the pair is better than neither
        fold = run.context.folds[number]
        train, valid = run.context.train.take(fold.train), run.context.train.take(fold.valid)
        models: list[Any] = [member_of(one.folds[number]) for one in chosen]
        losses = {}
        for subset in chain.from_iterable(combinations(range(2), size) for size in (1, 2)):
            model = models[subset[0]] if len(subset) == 1 else Net.average([models[i] for i in subset], train.x, seed=1)
            proba = model.predict_proba(valid.x)[soup.choice].astype(np.float64)
            proba /= proba.sum(axis=1, keepdims=True)
            losses[subset] = log_loss(valid.y[soup.choice], proba, labels=range(10))
        assert losses[tuple(sorted(soup.found.taken))] == pytest.approx(min(losses.values()), rel=0.02)
        assert soup.found.loss <= min(losses[0,], losses[1,]) + 1e-6
        assert set(soup.choice) | set(soup.estimate) == set(range(len(valid)))
        assert not set(soup.choice) & set(soup.estimate)


def test_the_weights_of_a_soup_are_the_mean_of_its_members(run: FinishedRun, teachers: Here, tmp_path: Path) -> None:
    slow, fast = found_in(run, teachers).chosen
    models: list[Any] = [member_of(one.folds[0]) for one in (slow, fast)]

    made = Net.average(models, run.context.train.take(run.context.folds[0].train).x, seed=7)

    made.save(tmp_path)
    files = [load_file(tmp_path / "weights.safetensors")]
    for place, one in enumerate((slow, fast)):
        path = tmp_path / f"{place}.safetensors"
        path.write_bytes(one.folds[0]["weights.safetensors"])
        files.append(load_file(path))
    mean, first, second = files
    for name in ("1.weight", "4.weight" if "4.weight" in mean else list(mean)[-1]):
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_allclose(mean[name], (first[name] + second[name]) / 2, atol=1e-7)


def test_a_soup_is_a_reproducible_bundle_with_the_reported_metrics(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    candidates = found_in(run, teachers)

    found = make_soup(run, candidates, tmp_path / "soup", runner_with(tmp_path / "one"))
    again = make_soup(run, candidates, tmp_path / "again", runner_with(tmp_path / "other"))

    assert found == again == json.loads((tmp_path / "soup" / FIGURES).read_text())
    for fold in range(2):
        place = f"members/soup/{fold}/weights.safetensors"
        assert (tmp_path / "soup" / place).read_bytes() == (tmp_path / "again" / place).read_bytes()
    assert run.context.test is not None
    proba = Bundle.load(tmp_path / "soup").predict(run.context.test.x).proba
    rows = {row["name"]: row for row in found["compared"]}
    assert rows["soup, calibrated"]["test"]["nll"] == pytest.approx(log_loss(run.context.test.y, proba), abs=1e-5)
    with np.load(tmp_path / "soup" / LOSSES) as saved:
        estimated = np.isfinite(saved["loss"])
        assert saved["loss"][estimated].mean() == pytest.approx(rows["soup, calibrated"]["estimate"]["nll"], abs=1e-5)
    assert estimated.sum() == found["rows"]["estimate"] == 240 - found["rows"]["choice"]


def test_a_soup_makes_conformal_sets_from_the_rows_of_its_estimate(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    found = make_soup(run, found_in(run, teachers), tmp_path / "soup", runner_with(tmp_path / "store"))

    bundle = Bundle.load(tmp_path / "soup")
    assert bundle.conformal is not None and bundle.risk_coverage is not None
    calibrated = next(row["estimate"] for row in found["compared"] if row["name"] == "soup, calibrated")
    assert len(bundle.conformal.y) == found["rows"]["estimate"]
    assert -np.log(bundle.conformal.true).mean() == pytest.approx(calibrated["nll"], abs=1e-5)
    assert bundle.risk_coverage.risk[-1] == pytest.approx(1 - calibrated["accuracy"], abs=1e-6)


def test_the_optimism_is_the_gain_on_the_selection_rows_minus_the_gain_on_other_rows(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    found = make_soup(run, found_in(run, teachers), tmp_path / "soup", runner_with(tmp_path / "store"))

    best, soup, together, _ = found["compared"]
    gains = [best[half]["nll"] - soup[half]["nll"] for half in ("choice", "estimate")]
    assert found["choice"]["optimism"] == pytest.approx(gains[0] - gains[1], abs=2e-6)
    assert gains[0] >= -1e-6, "greedy keeps the best network at least"
    assert together["name"] == "ensemble of the 2"
    assert run.test is not None and run.context.test is not None
    mean = run.test.proba[[run.members.index(name) for name in ("slow", "fast")]].astype(np.float64).mean(axis=0)
    mean /= mean.sum(axis=1, keepdims=True)
    assert together["test"]["nll"] == pytest.approx(log_loss(run.context.test.y, mean), abs=1e-5)


def test_a_member_that_has_not_predicted_the_test_rows_is_not_compared_there(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    # given: a budget left no time for the test predictions of one of the two members
    assert run.test is not None
    tested = run.test.tested.copy()
    tested[run.members.index("slow")] = False
    partly = replace(run, test=replace(run.test, tested=tested))

    whole, found = (
        make_soup(one, found_in(one, teachers), tmp_path / name, runner_with(tmp_path / "store"))
        for one, name in ((run, "a"), (partly, "b"))
    )

    figures = {row["name"]: row["test"] for row in found["compared"]}
    assert figures.pop("ensemble of the 2") is None
    assert figures.pop("slow", None) is None
    assert figures == {row["name"]: row["test"] for row in whole["compared"] if row["name"] in figures}


def test_models_that_only_the_members_use_for_test_rows_are_reported(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    again = run.board.ensemble.model_copy(update={"production": "each member is trained again"})
    board = run.board.model_copy(update={"ensemble": again})

    found = make_soup(
        replace(run, board=board), found_in(run, teachers), tmp_path / "soup", runner_with(tmp_path / "store")
    )

    assert found["notes"][-1].endswith("the run's bundle: each member is trained again")


def test_weights_that_the_store_has_lost_are_taken_from_the_bundle(
    run: FinishedRun, teachers: Here, tmp_path: Path
) -> None:
    empty = runner_with(tmp_path / "empty")
    bundled = [entry["name"] for entry in json.loads((run.folder.bundle / "manifest.json").read_text())["members"]]
    with pytest.raises(UserError) as raised:
        find_candidates(run, empty, ["svm", "other"])
    assert set(bundled) == set(run.members)
    assert "svm: it is not a network" in str(raised.value)

    copy = tmp_path / "copy"
    shutil.copytree(run.folder.path, copy)
    manifest = json.loads((copy / "bundle/manifest.json").read_text())
    for name, one in zip(("slow", "fast"), found_in(run, teachers).chosen, strict=True):
        entry = next(entry for entry in manifest["members"] if entry["name"] == name)
        entry["folds"] = [f"members/{name}/{fold}" for fold in one.folds]
        for fold, files in one.folds.items():
            (copy / f"bundle/members/{name}/{fold}").mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                (copy / f"bundle/members/{name}/{fold}/{file}").write_bytes(content)
    (copy / "bundle/manifest.json").write_text(json.dumps(manifest))

    found = find_candidates(reopen(RunFolder(copy)), empty, ["slow", "fast"])

    assert [one.label for one in found.chosen] == ["slow", "fast"]


def test_if_no_two_members_fit_together_each_pair_is_named_with_the_reason(run: FinishedRun, teachers: Here) -> None:
    with pytest.raises(UserError) as raised:
        found_in(run, teachers, ["slow", "other", "fresh", "svm"])

    assert str(raised.value).splitlines() == [
        "the weights of slow, other, fresh, svm cannot all be averaged; remove some from --members:",
        "  svm: it is not a network (kind svm)",
        "  slow and other: other has another architecture (mlp with hidden: [8], not mlp with hidden: [16])",
        "  slow and fresh: fresh has other starting weights",
        "  other and fresh: fresh has another architecture (mlp with hidden: [16], not mlp with hidden: [8])",
    ]


def test_an_unknown_member_gets_the_nearest_name_as_a_suggestion(run: FinishedRun, teachers: Here) -> None:
    with pytest.raises(UserError, match=r"--members slwo: the run has no member with this name; did you mean 'slow'\?"):
        found_in(run, teachers, ["slwo", "fast"])
