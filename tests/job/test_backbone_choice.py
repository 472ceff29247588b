"""Jobs that choose the best of several frozen networks by their features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tests.features import job, write_weights
from tests.jobs import Here

from quorate.job.budget import ClosingTime
from quorate.job.run import JobFailed
from quorate.plan import planner
from quorate.spec import load_job
from quorate.spec.file import SpecError

MEMBERS: dict[str, dict[str, Any]] = {"logistic": {"kind": "logistic", "C": 0.1}}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two networks with random weights, and one whose features are constant, so that they say nothing."""
    folder = tmp_path_factory.mktemp("networks")
    first = write_weights(folder / "test_resnet.first.safetensors", seed=1)
    second = write_weights(folder / "test_resnet.second.safetensors", seed=2)
    blind = folder / "test_resnet.blind.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(first).items()}, blind)
    return {"first": first, "second": second, "blind": blind}


def choosing(networks: dict[str, Path], keep: int, **rest: Any) -> dict[str, Any]:
    """A job whose only member uses the best of the networks; the blind one comes first."""
    of = [str(networks[name]) for name in ("blind", "first", "second")]
    tree = job(networks["first"], members=MEMBERS, **rest)
    tree["members"]["logistic"]["features"] = {"kind": "best", "of": of, "keep": keep, "size": 32}
    return tree


def test_a_member_becomes_one_member_for_each_of_the_best_networks(networks, tmp_path, asked):
    here = Here(tmp_path)

    board = here.run(choosing(networks, keep=2))
    first = list(asked)
    asked.clear()
    again = here.run(choosing(networks, keep=2))

    assert {row["name"] for row in board["members"]} == {"logistic-test_resnet-2", "logistic-test_resnet-3"}
    assert sorted(first) == [120, 120, 120, 450, 450], "the test rows only of the networks that are used"
    assert asked == [] and again["oof_sha256"] == board["oof_sha256"], "the second start finds everything"
    saved = json.loads((here.newest_run() / "backbones.json").read_text())
    assert [one["name"] for one in saved["networks"]][-1] == "test_resnet-1", "the blind one is the last"
    assert saved["networks"][-1]["probe_nll"] > 2.2, "of ten classes it knows nothing: ln 10 is 2.3"
    assert saved["uses"][0]["agreeing_folds"] == 2
    assert "logistic: uses test_resnet-" in here.said
    assert "each of the 2 folds would choose the same without its validation rows" in here.said


def test_the_members_are_those_of_a_job_that_names_the_networks(networks, tmp_path):
    here = Here(tmp_path)
    board = here.run(choosing(networks, keep=1))
    (name,) = (row["name"] for row in board["members"])
    tree = job(networks["first"], members={name: MEMBERS["logistic"]})
    chosen = json.loads((here.newest_run() / "job.json").read_text())["members"][name]["features"]
    tree["members"][name]["features"] = {"arch": chosen["arch"], "weights": chosen["weights"], "size": 32}

    named = here.run(tree)

    assert named["tasks"] == board["tasks"] | {"trained": 0, "reused": 2}
    assert named["oof_sha256"] == board["oof_sha256"]


def test_the_choice_of_a_holdout_job_does_not_see_its_validation_rows(networks, tmp_path):
    here = Here(tmp_path)

    here.run(choosing(networks, keep=1, validation={"scheme": "holdout", "fraction": 0.25}))

    saved = json.loads((here.newest_run() / "backbones.json").read_text())
    assert saved["rows"] == 90, "120 rows without the 30 of the fold"
    assert "chosen without the validation rows" in here.said


def test_a_file_whose_name_is_no_architecture_is_refused_with_the_names_that_are_close(networks, tmp_path):
    unnamed = tmp_path / "test_resnett.safetensors"
    unnamed.touch()
    tree = choosing({**networks, "blind": unnamed}, keep=1)

    with pytest.raises(SpecError) as refused:
        load_job(Here(tmp_path).write(tree))

    (problem,) = refused.value.problems
    assert problem.loc[:4] == ("members", "logistic", "features", "of")
    assert "cannot tell the architecture of test_resnett.safetensors" in problem.message
    assert "did you mean 'test_resnet'" in problem.message and "NAME.safetensors" in problem.message


def test_a_name_that_the_job_has_already_is_refused(networks, tmp_path):
    tree = choosing(networks, keep=1)
    tree["members"]["logistic-test_resnet-2"] = tree["members"]["logistic-test_resnet-3"] = {"kind": "knn"}

    with pytest.raises(SpecError, match=r"becomes the member logistic-test_resnet-\d, which the job has too"):
        Here(tmp_path).run(tree)


def test_a_dry_run_shows_every_network_until_the_features_are_known(networks, tmp_path):
    here = Here(tmp_path)
    here.write(choosing(networks, keep=1))

    before = here.command("train", "job.yaml", "--dry-run", "--json", "--store", here.store)
    here.run(choosing(networks, keep=1))
    after = here.command("train", "job.yaml", "--dry-run", "--json", "--store", here.store)

    assert before.returncode == 0, before.stderr
    assert len(json.loads(before.stdout)["tasks"]) == 3 * 2, "three networks, two folds"
    assert "the job keeps 1 of these 3 networks" in before.stderr
    tasks = json.loads(after.stdout)["tasks"]
    assert len(tasks) == 2 and all(task["finished"] for task in tasks)


def test_the_report_shows_the_ranking_and_who_uses_what(networks, tmp_path):
    here = Here(tmp_path)

    here.run(choosing(networks, keep=1), pictures=True)

    page = (here.newest_run() / "report.html").read_text()
    section = page.partition('id="backbones"')[2].partition("</section>")[0]
    saved = json.loads((here.newest_run() / "backbones.json").read_text())
    assert [section.index(f"{one['probe_nll']:.4f}") for one in saved["networks"]] == sorted(
        section.index(f"{one['probe_nll']:.4f}") for one in saved["networks"]
    ), "the best first"
    assert section.count('<td class="wrap">logistic</td>') == 1
    assert "would choose the same networks without its validation rows" in section


def test_features_that_do_not_fit_into_the_budget_are_not_begun(networks, tmp_path, asked, monkeypatch):
    monkeypatch.setattr(planner, "image_seconds", lambda backbone, shape: 100.0)

    with pytest.raises(JobFailed, match=r"the features of no network .* it takes about .* s were left for training"):
        Here(tmp_path).run(choosing(networks, keep=1), "execution.budget=10m")

    assert asked == []


def test_features_are_computed_in_this_process_if_starting_ray_takes_too_long(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(ClosingTime, "is_too_short_for_ray", lambda ending, workers: True)
    monkeypatch.delattr("quorate.execution.workplace.start_ray")
    here = Here(tmp_path)

    board = here.run(choosing(networks, keep=1), "execution.budget=10m", "execution.executor=ray")

    assert len(board["members"]) == 1
    assert here.said.count("the job runs in this process, without Ray") == 1
