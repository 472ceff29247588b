"""Whole jobs on the features of a frozen network: computed once, found again, refused in time."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.features import ARCH, job, write_weights
from tests.jobs import Here
from torch import nn

from quorate.bundle import Bundle
from quorate.execution.base import Policy
from quorate.execution.events import Failed, Featured, Fitted, OutOfTime
from quorate.execution.interrupt import StopRequest
from quorate.execution.local import LocalExecutor
from quorate.job.features import find_features
from quorate.job.run import JobFailed, Options, run_job
from quorate.members.backbone import Extractor
from quorate.plan.opening import open_data
from quorate.plan.planner import make_plan
from quorate.plan.tasks import Plan, Unit
from quorate.registry import ARCHS
from quorate.results.results import Results
from quorate.runs.place import FolderRuns
from quorate.spec import load_job
from quorate.spec.file import SpecError
from quorate.store import open_store
from quorate.store.collection import by_space, take_inventory
from quorate.training import hub

MEMBERS: dict[str, dict[str, Any]] = {"logistic": {"kind": "logistic"}, "knn": {"kind": "knn", "copies": 2}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def test_features_are_computed_once_for_all_members_copies_folds_and_later_jobs(weights, tmp_path, asked):
    here = Here(tmp_path)

    here.run(job(weights, members=MEMBERS))
    first, said = list(asked), here.said
    asked.clear()
    here.run(job(weights, members={**MEMBERS, "bayes": {"kind": "naive_bayes", "standardize": "pca"}}))

    assert sorted(first) == [120, 450], "the training rows and the test rows, each once"
    assert f"features of {ARCH}: 120 training images, computed once for all members and folds" in said
    assert "features 1-120 (train), timm/test_resnet in" in said
    assert asked == [], "the second job computes nothing"
    assert "fit tasks, 6 reused" in here.said and "features 1-120" not in here.said
    spaces = by_space(take_inventory(open_store(str(tmp_path / "store"))))
    assert spaces["features"].count == 2
    assert spaces["features"].size > (120 + 450) * 96 * 4


def test_the_bundle_gives_the_probabilities_that_the_job_had(weights, tmp_path, asked):
    here = Here(tmp_path)
    here.run(job(weights, members=MEMBERS, combiner="mean"))
    run = here.newest_run()
    asked.clear()

    bundle = Bundle.load(run / "bundle")
    test = open_data(load_job(here.job_file)).test
    prediction = bundle.predict(test.x, members=True)

    with np.load(run / "test.npz") as saved:
        np.testing.assert_allclose(prediction.proba, saved["ensemble"], atol=1e-5)
        for proba, name in zip(saved["proba"], ("logistic", "knn.1", "knn.2"), strict=True):
            if name in prediction.members:  # those with weight
                np.testing.assert_allclose(prediction.members[name], proba, atol=1e-5)
    assert prediction.members and asked == [450], "both folds ask the network once"
    stored = take_inventory(open_store(str(tmp_path / "store"))).blobs.values()
    large = [
        entry
        for entry in stored
        if entry.size == (run / "bundle/members/logistic/0/backbone.safetensors").stat().st_size
    ]
    assert len(large) == 1, "the weights are kept once"


def test_features_of_new_test_rows_are_computed_without_recomputing_the_training_rows(weights, tmp_path, asked):
    here = Here(tmp_path)
    tree = job(weights, members={"logistic": {"kind": "logistic"}})
    here.run(tree | {"data": {"kind": "digits", "limit": 120, "test": None}})
    assert asked == [120]
    asked.clear()
    rows = {"train": str(tmp_path / "train.npz"), "test": str(tmp_path / "test.npz")}
    digits = open_data(load_job(here.job_file)).train
    pixels = digits.x.take(np.arange(120))
    np.savez(rows["train"], images=pixels, labels=digits.y)
    np.savez(rows["test"], images=pixels[:30], labels=digits.y[:30])
    here.run(tree | {"data": {"kind": "npz", "train": rows["train"]}})
    asked.clear()

    board = here.run(tree | {"data": {"kind": "npz", **rows}})

    assert board["tasks"] == {"trained": 0, "reused": 2, "failed": 0} | board["tasks"]
    assert asked == [30]


def test_a_dry_run_tells_what_will_be_computed(weights, tmp_path, capsys):
    from quorate.cli.job_plan import show_plan

    here = Here(tmp_path)
    tree = job(weights, members=MEMBERS)
    loaded = load_job(here.write(tree))

    def shown() -> tuple[str, dict[str, Any]]:
        text = io.StringIO()
        show_plan(loaded, str(tmp_path / "store"), None, Console(file=text, width=140), as_json=False)
        show_plan(loaded, str(tmp_path / "store"), None, Console(file=io.StringIO()), as_json=True)
        return text.getvalue(), json.loads(capsys.readouterr().out)

    before, told = shown()
    here.run(tree)
    after, _ = shown()

    assert "features of 120 training images" in before and "to compute" in before
    assert "to compute" not in after
    train, test = told["features"]
    assert (train["backbone"], train["rows"], train["pieces"], train["finished_pieces"]) == (ARCH, 120, 1, 0)
    assert test["rows"] == 450 and test["estimated_seconds"] >= 0


def plan_of(weights: Path, tmp_path: Path) -> Plan:
    loaded = load_job(Here(tmp_path).write(job(weights, members=MEMBERS, limit=600)))
    return make_plan(loaded.spec, open_data(loaded), LocalExecutor())


def extracted(executor: Any, plan: Plan, results: Results) -> tuple[Any, list[Any]]:
    """The missing features that the executor computes, and its events."""
    extraction = find_features(plan, [Unit((task,)) for task in plan.tasks], results)
    with executor.open(plan.context, Policy()) as session:
        session.place(extraction.networks)
        session.submit(Unit((task,)) for task in extraction.missing)
        events = list(session.events())
    for event in events:
        extraction.on(event)
        if isinstance(event, Featured):
            results.keep_features(event)
    return extraction, events


@pytest.mark.slow
@pytest.mark.system
def test_workers_of_ray_share_the_work_and_give_the_same_bits(ray_session, weights, tmp_path):
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of(weights, tmp_path)
    here, _ = extracted(LocalExecutor(), plan, Results(open_store(str(tmp_path / "local"))))
    executor = RayExecutor(own=False)

    there, events = extracted(executor, plan, Results(open_store(str(tmp_path / "ray"))))
    with executor.open(plan.context, Policy()) as session:
        session.place(there.vectors())
        session.submit([Unit((plan.of("logistic")[0],))])
        fits = [event for event in session.events() if isinstance(event, Fitted)]

    assert [event for event in events if isinstance(event, Failed)] == []
    assert len({event.worker for event in events if hasattr(event, "worker")}) == 2
    assert here.found.keys() == there.found.keys() and len(here.found) == 3
    for key, matrix in here.found.items():
        np.testing.assert_array_equal(there.found[key], matrix)
    assert len(fits) == 1 and "backbone.safetensors" in fits[0].files


def test_damaged_features_are_computed_again(weights, tmp_path):
    plan = plan_of(weights, tmp_path)
    results = Results(open_store(str(tmp_path / "store")))
    extraction, _ = extracted(LocalExecutor(), plan, results)
    for blob in (tmp_path / "store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.write_bytes(b"damage")

    again, events = extracted(LocalExecutor(), plan, results)

    assert sum(isinstance(event, Featured) for event in events) == 3
    for key, matrix in extraction.found.items():
        np.testing.assert_array_equal(again.found[key], matrix)


def test_members_whose_features_fail_are_named_and_the_others_continue(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "__call__", lambda *_, **__: 1 / 0)
    here = Here(tmp_path)
    tree = job(weights, members={"logistic": {"kind": "logistic"}}, quorum={"members": 1})
    tree["members"]["pixels"] = {"kind": "naive_bayes"}

    board = here.run(tree)

    states = {row["name"]: row["status"] for row in board["members"]}
    assert states == {"logistic": "failed", "pixels": "ok"}
    assert "member logistic, copy 1, fold 1, attempt 1: failed: the features of timm/test_resnet, t" in here.said
    assert "ZeroDivisionError" in here.said


def test_a_budget_that_is_too_short_for_the_features_says_so(weights, tmp_path):
    plan = plan_of(weights, tmp_path)
    extraction = find_features(plan, [Unit((task,)) for task in plan.tasks], Results(open_store(str(tmp_path / "s"))))
    units = [Unit((task,)) for task in plan.tasks]

    extraction.on(OutOfTime(plan.features[0], False, "it takes about 9.0 s, and no time was left for training"))
    ends = list(extraction.without(units))

    assert {type(event) for event in ends} == {OutOfTime} and len(ends) == len(units)
    assert ends[0].message.startswith("the features of timm/test_resnet, training rows 1 to 512 were not ready in time")
    assert extraction.split(units) == ([], [])
    assert not any(isinstance(event, Failed) for event in ends)


def test_unavailable_hub_weights_end_the_job_before_training(tmp_path, monkeypatch):
    def unreachable(*_: Any, **__: Any) -> nn.Module:
        raise OSError("no route to host")

    monkeypatch.setattr(ARCHS.get("timm/resnet18"), "pretrained", unreachable)
    monkeypatch.setattr(hub, "hub_problem", lambda url: "")
    tree = job(tmp_path / "none", members={"logistic": {"kind": "logistic"}})
    tree["members"]["logistic"]["features"] = {"arch": "timm/resnet18.a1_in1k", "size": 32}
    loaded = load_job(Here(tmp_path).write(tree))
    options = Options(open_store(str(tmp_path / "store")), FolderRuns(tmp_path / "runs"), "local")

    with pytest.raises(SpecError) as error:
        run_job(loaded, options, console=Console(quiet=True), stop=StopRequest())

    assert "members.logistic: " in str(error.value)
    assert "the weights of timm/resnet18.a1_in1k cannot be loaded from the hub: no route to host" in str(error.value)
    assert "download them where the hub can be reached, and name the file in weights" in str(error.value)


def test_weights_of_another_network_are_refused_with_their_place_in_the_job_file(tmp_path):
    other = write_weights(tmp_path / "other.safetensors", arch="test_efficientnet")

    with pytest.raises(SpecError, match=r"members\.logistic: .*the weights do not fit timm/test_resnet"):
        Here(tmp_path).run(job(other, members={"logistic": {"kind": "logistic"}}))


def test_a_job_without_any_member_left_says_that_the_features_failed(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "__call__", lambda *_, **__: 1 / 0)

    with pytest.raises(
        JobFailed, match=r"the features of timm/test_resnet, t\w+ rows 1 to \d+ failed: ZeroDivisionError"
    ):
        Here(tmp_path).run(job(weights, members={"logistic": {"kind": "logistic"}}))
