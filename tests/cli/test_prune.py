"""`quorate prune`: the pruning path shows the quality of smaller ensembles, and the bundle is one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.cli.conftest import InFolder
from tests.jobs import Here

from quorate.bundle import Bundle, verified_manifest
from quorate.ensemble.ablation import EnsembleChange, EnsembleEstimate, PrunedEnsemble
from quorate.ensemble.assemble import Assembly, assemble
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.metrics import scores
from quorate.ensemble.pruning_path import Goal, PruningPath
from quorate.plan.identity import derive_seed
from quorate.registry import COMBINERS
from quorate.report.page.values import best_single
from quorate.report.pruning_path import as_lines
from quorate.report.run_report import RunInputs, read_run
from quorate.runs.folder import RunFolder

JOB: dict[str, Any] = {
    "name": "several",
    "data": "digits",
    "validation": {"folds": 2},
    "members": {
        "forest": {"kind": "random_forest", "trees": 30},
        "trees": {"kind": "extra_trees", "trees": 30},
        "linear": {"kind": "logistic"},
        "neighbours": {"kind": "knn"},
    },
    "combiner": "weighted",
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = Here(tmp_path_factory.mktemp("several"))
    board = here.run(JOB)
    assert sum(row["weight"] > 0 for row in board["members"]) >= 3
    return here.newest_run()


def crossfitted(run: Path, names: list[str]) -> dict[str, float]:
    """The metrics that `assemble` returns for an ensemble of these members."""
    with np.load(run / "oof.npz") as saved:
        places = [saved["members"].tolist().index(name) for name in names]
        proba, y = saved["proba"][places], saved["y"]
    made = COMBINERS.get("weighted")
    mask, seed = np.ones(proba.shape[:2], dtype=bool), derive_seed(0, "combiner")
    return assemble(proba=proba, mask=mask, y=y, combiner=made(made.Params()), seed=seed).scores


def test_the_pruning_path_has_the_losses_of_ensembles_made_without_members(quorate_in: InFolder, run: Path) -> None:
    code, said, _ = quorate_in(run, "prune", "--run", str(run), "--json")

    found = json.loads(said)
    assert code == 0 and found["pruned"] is None
    steps = found["steps"]
    assert [len(step["left"]) for step in steps] == list(range(len(steps), 0, -1))
    whole = crossfitted(run, steps[0]["left"])
    for step in steps[1:]:
        alone = crossfitted(run, step["left"])
        assert step["nll"] == pytest.approx(alone["nll"] - whole["nll"], abs=1e-9)
        assert step["accuracy"] == pytest.approx(alone["accuracy"] - whole["accuracy"], abs=1e-9)
    assert steps[0]["predict_ms"] == pytest.approx(sum(member["predict_ms"] for member in found["members"]))
    assert not list(run.glob("pruned*"))


MEAN = {"kind": "mean", "calibration": "temperature", "final": "temperature"}
GROUP = np.repeat(np.arange(40), 10)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """A run on a table with groups of rows."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    table = pd.DataFrame({f"x{k}": label + rng.normal(size=400) for k in range(4)})
    table.assign(group=GROUP, label=np.array(["no", "yes"])[label]).to_csv(tmp_path / "rows.csv", index=False)
    data = {"kind": "csv", "train": str(tmp_path / "rows.csv"), "label": "label", "groups": "group"}
    members = {"forest": {"kind": "random_forest", "trees": 5, "copies": 3}}
    here = Here(tmp_path)
    here.run({**JOB, "data": data, "combiner": MEAN, "members": members})
    return here.newest_run()


def test_rows_in_groups_are_estimated_as_the_job_and_its_report_have_it(quorate_in: InFolder, grouped: Path) -> None:
    _, said, _ = quorate_in(grouped, "prune", "--run", str(grouped), "--json")

    folder = RunFolder(grouped)
    saved, board = folder.arrays("oof.npz"), folder.board()
    np.testing.assert_array_equal(saved["groups"], GROUP)
    made = COMBINERS.get("mean")
    combiner = made(made.Params.model_validate(MEAN))

    def combined(names: list[str]) -> Assembly:
        places = [saved["members"].tolist().index(name) for name in names]
        proba, mask, seed = saved["proba"][places], saved["mask"][places], derive_seed(0, "combiner")
        return assemble(
            proba=proba, mask=mask, y=saved["y"], combiner=combiner, seed=seed, dependence=Dependence(GROUP)
        )

    expected = combined(saved["members"].tolist())
    assert not expected.guarded
    assert board.ensemble.oof is not None
    assert board.ensemble.oof.nll == pytest.approx(expected.scores["nll"], abs=1e-6)
    assert best_single(read_run(folder, RunInputs.reopened(folder))).nll == pytest.approx(expected.best_single_nll)
    steps = json.loads(said)["steps"]
    assert steps[1]["nll"] == pytest.approx(combined(steps[1]["left"]).combiner_nll - expected.scores["nll"])


def test_the_smaller_bundle_predicts_with_the_members_that_are_left(
    quorate_in: InFolder, run: Path, tmp_path: Path
) -> None:
    code, said, _ = quorate_in(run, "prune", "--run", str(run), "--members", "2", "-o", str(tmp_path / "two"), "--json")

    written = json.loads(said)["pruned"]
    assert code == 0 and len(written["members"]) == 2
    manifest, before = verified_manifest(tmp_path / "two"), verified_manifest(run / "bundle")
    assert [member.name for member in manifest.members] == written["members"]
    assert manifest.metrics.oof == pytest.approx(crossfitted(run, written["members"]))
    assert set(manifest.files) - {"losses.npz", "unseen.npz"} < set(before.files)
    bundle, whole = Bundle.load(tmp_path / "two"), Bundle.load(run / "bundle")
    with np.load(run / "test.npz") as saved:
        assert manifest.metrics.test["accuracy"] > 0.9
        places = [[member.name for member in before.members].index(name) for name in written["members"]]
        expected = scores(bundle._combination.apply(saved["proba"][places]), saved["y"])
    assert manifest.metrics.test == pytest.approx(expected)
    rows = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    mine, theirs = (one.predict(rows, members=True).members or {} for one in (bundle, whole))
    for name in written["members"]:
        np.testing.assert_array_equal(mine[name], theirs[name])


def test_without_the_test_predictions_of_a_member_the_smaller_bundle_has_no_test_figures(
    quorate_in: InFolder, run: Path, tmp_path: Path
) -> None:
    # given: a budget left no time for the test predictions of one member
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with np.load(copy / "test.npz") as saved:
        arrays = dict(saved)
    code, said, _ = quorate_in(copy, "prune", "--run", str(copy), "--members", "2", "-o", str(tmp_path / "a"), "--json")
    names, kept = verified_manifest(run / "bundle").members, json.loads(said)["pruned"]["members"]
    assert code == 0 and verified_manifest(tmp_path / "a").metrics.test
    arrays["tested"][[member.name for member in names].index(kept[0])] = False
    np.savez(copy / "test.npz", **arrays)

    code, _, _ = quorate_in(copy, "prune", "--run", str(copy), "--members", "2", "-o", str(tmp_path / "b"), "--json")

    assert code == 0 and verified_manifest(tmp_path / "b").metrics.test is None


@pytest.mark.parametrize("file", ["leaderboard.json", "oof.npz", "job.json"])
def test_a_file_of_another_run_is_named(file: str, quorate_in: InFolder, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    name = next(member.name for member in verified_manifest(copy / "bundle").members if member.folds)
    if file == "oof.npz":
        with np.load(copy / file) as saved:
            arrays = dict(saved)
        arrays["members"] = np.array([each.replace(name, "other") for each in arrays["members"].tolist()])
        np.savez(copy / file, **arrays)
    else:
        before, after = (f'"{name}": {{', '"other": {') if file == "job.json" else (f'"{name}"', '"other"')
        (copy / file).write_text((copy / file).read_text().replace(before, after))

    code, _, errors = quorate_in(copy, "prune", "--run", str(copy))

    assert code == 2
    assert f"{copy / file} lacks the member {name} of the bundle" in " ".join(errors.split())


def test_the_cheapest_ensemble_within_the_allowed_loss_is_chosen(
    quorate_in: InFolder, run: Path, tmp_path: Path
) -> None:
    _, said, _ = quorate_in(run, "prune", "--run", str(run), "--loss", "0.01", "-o", str(tmp_path / "x"), "--json")

    found = json.loads(said)
    kept = [step for step in found["steps"] if step["nll"] + step["nll_error"] <= 0.01]
    cheapest = min(kept, key=lambda step: float(step["predict_ms"]))
    chosen = found["pruned"]["members"] if found["pruned"] else found["steps"][0]["left"]
    assert chosen == cheapest["left"]


def test_an_ensemble_with_an_uncertain_loss_is_not_chosen() -> None:
    surely, by_luck = EnsembleChange(0.0004, 0.0005, 0.0, 0.0), EnsembleChange(-0.001, 0.003, 0.0, 0.0)

    chosen = stepped(surely, by_luck).chosen(Goal(loss=0.001))

    assert chosen is not None and chosen.change is surely


def test_the_text_says_which_members_can_be_removed_at_which_loss(quorate_in: InFolder, run: Path) -> None:
    code, said, _ = quorate_in(run, "prune", "--run", str(run), "--members", "1", columns=120)

    assert code == 0
    assert "ms per row" in said and "OOF NLL" in said
    assert "faster, OOF NLL +" in said
    assert "test: NLL" in said and "measured again:" in said
    assert (run / "pruned-1" / "manifest.json").is_file()
    code, _, wrong = quorate_in(run, "prune", "--run", str(run), "--members", "1")
    assert code == 2 and "exists; choose another folder with -o, or remove it" in wrong


def stepped(*changes: EnsembleChange) -> PruningPath:
    """The path for members a, b, … that cost 1 ms each and are removed from the last one on; `changes` has the effect
    of each step."""
    names = tuple("abcdef"[: len(changes) + 1])
    nobody = EnsembleEstimate(np.zeros(1), np.ones(1, bool))
    whole = EnsembleChange(0.0, 0.0, 0.0, 0.0)
    steps = [
        PrunedEnsemble(tuple(range(len(names) - gone)), float(len(names) - gone), nobody, change)
        for gone, change in enumerate((whole, *changes))
    ]
    return PruningPath(names, np.ones(len(names)), np.ones(len(names)), tuple(steps), 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # the accuracy of the second step is lost beyond noise: its interval says so
        (
            [EnsembleChange(0.01, 0.01, 0.0, 0.0), EnsembleChange(0.00123, 0.001, -0.02, 0.005)],
            "accuracy -0.0200 ± 0.0098",
        ),
        (
            [EnsembleChange(0.00123, 0.001, 0.0, 0.0)],
            "drop b: 50% faster, OOF NLL +0.0012 ± 0.0020, accuracy +0.0000 ± 0.0",
        ),
        ([EnsembleChange(-0.02, 0.001, 0.01, 0.002), EnsembleChange(0.9, 0.1, -0.3, 0.1)], "drop c: 33% faster"),
    ],
)
def test_the_suggested_command_removes_the_suggested_members(changes: list[EnsembleChange], words: str) -> None:
    found = stepped(*changes)

    (line,) = as_lines(found, None, None)

    assert words in line
    chosen = found.chosen(Goal(loss=float(line.rpartition("--loss ")[2].rstrip(")"))))
    assert chosen is not None
    assert line.startswith(f"drop {', '.join(found.names[len(chosen.left) :])}: ")


def test_no_removal_is_suggested_if_every_member_contributes() -> None:
    (line,) = as_lines(stepped(EnsembleChange(0.02, 0.001, -0.01, 0.002)), None, None)

    assert line.startswith("every member improves the ensemble beyond the noise")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--members", "2", "--loss", "0.1"], "give only one of --members"),
        (["--members", "0"], "--members 0: an ensemble needs at least 1 member"),
        (["--loss=-1"], "--loss -1: the rise of the log-loss must be finite"),
        (["--max-latency", "5"], "--max-latency 5: give a time above 0 with its unit, e.g. 5ms or 0.2s"),
        (["--max-latency", "0.00001ms"], "no ensemble of these members predicts a row within 1e-05 ms: the fastest"),
        (["-o", "somewhere"], "-o requires a goal"),
    ],
)
def test_invalid_goals_are_refused(given: list[str], words: str, quorate_in: InFolder, run: Path) -> None:
    code, _, said = quorate_in(run, "prune", "--run", str(run), *given)

    assert code == 2
    assert words in said


def test_a_damaged_job_is_refused_without_a_traceback(quorate_in: InFolder, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / "job.json").write_text('{"name": ')

    code, _, said = quorate_in(tmp_path, "prune", "--run", "damaged")

    assert code == 2
    assert "job.json cannot be read as a job" in said and "Traceback" not in said


def test_members_can_be_removed_after_the_files_of_the_job_were_deleted(quorate_in: InFolder, grouped: Path) -> None:
    (grouped.parents[1] / "rows.csv").unlink()

    code, _, said = quorate_in(grouped, "prune", "--run", str(grouped), "--members", "2")
    assert code == 0, said

    page = read_run(RunFolder(grouped), RunInputs.reopened(RunFolder(grouped)))

    assert page.combiner is not None and page.combiner.params.kind == "mean"
    assert "so rows are shown by number only" in page.data_note


def test_a_single_member_has_nothing_to_prune(quorate_in: InFolder, tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.run(
        {**JOB, "combiner": "best_single", "members": {name: JOB["members"][name] for name in ("forest", "linear")}}
    )

    code, _, said = quorate_in(tmp_path, "prune")

    assert code == 2
    assert "only the member linear, so there is nothing to prune" in said
