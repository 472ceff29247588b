"""Jobs that grow until their budget is used: what is proposed, what is kept, and why the growth ends."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss
from tests.execution import odd_members  # noqa: F401  (registers a kind)
from tests.features import ARCH, write_weights
from tests.features import job as features_job
from tests.jobs import SMALL, Here
from tests.tiny import LAPTOP, alone, plan_of, spec_of, tiny_data, two_folds

from quorate import EnsembleClassifier
from quorate.bundle import Bundle
from quorate.data.table import Table
from quorate.ensemble.combination import AS_IT_IS, Combination
from quorate.execution.estimates import Estimates
from quorate.execution.local import LocalExecutor
from quorate.job import additions, growth
from quorate.job.additions import COPY, MIRRORED, Addition, Additions, with_additions
from quorate.job.composition import Composition, compose
from quorate.job.growth import PATIENCE
from quorate.job.progress import JobProgress
from quorate.plan import planner
from quorate.plan.planner import make_plan, recipes_of
from quorate.plan.portfolio import PortfolioEntry
from quorate.plan.tasks import FeatureTask, FitTask, JobData, Task
from quorate.results.results import Fit
from quorate.runs.folder import RunFolder
from quorate.spec import Job
from quorate.spec.file import Source

GROWING: dict[str, Any] = {
    **SMALL,
    "data": {"kind": "digits", "limit": 150},
    "members": {"forest": {"kind": "random_forest", "trees": 10}, "logistic": {"kind": "logistic"}},
    "grow": True,
}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def composed(members: str, *, losses: dict[str, float]) -> Composition:
    """The ensemble of members on forty rows, whose predictions have about these log-losses."""
    rows = tiny_data()
    spec = spec_of(f"seed: 0\ngrow: true\ndata: digits\nmembers: {members}\n")
    plan = make_plan(spec, JobData(rows, None, two_folds(len(rows))), alone(LAPTOP))
    work, random = JobProgress(), np.random.default_rng(0)
    for task in plan.tasks:
        y, right = rows.y[plan.context.folds[task.fold].valid], np.exp(-losses[task.label])
        proba = np.full((len(y), 3), (1 - right) / 2, np.float32)
        proba[np.arange(len(y)), y] = right
        noisy = proba * random.uniform(0.8, 1.2, proba.shape).astype(np.float32)
        work.fits[task.key] = Fit(task, noisy / noisy.sum(1, keepdims=True), [], 1.0, {}, reused=False)
    return compose(Job(spec, Source("", {}, {})), plan, work, LocalExecutor, None)


def proposed(additions: Additions, made: Composition, number: int) -> list[Addition]:
    return list(itertools.islice(additions.proposals(made), number))


def with_weights(made: Composition, **weights: float) -> Composition:
    found = np.array([weights.get(label, 0.0) for label in made.plan.labels])
    combination = Combination("calibrated_greedy", found, [AS_IT_IS] * len(found))
    return replace(made, ensemble=replace(made.ensemble, combination=combination))


def test_copies_of_the_members_with_most_weight_and_entries_of_the_portfolio_take_turns() -> None:
    made = composed(
        "{light: {kind: random_forest}, heavy: {kind: extra_trees}, alike: {kind: logistic}, "
        "idle: {kind: net, arch: mlp}}",
        losses={"light": 0.6, "heavy": 0.5, "alike": 0.4, "idle": 0.7},
    )
    made = with_weights(made, light=0.3, heavy=0.4, alike=0.3)

    first = proposed(Additions(made), made, 5)

    assert [one.label for one in first][::2] == ["heavy.2", "light.2", first[4].label]
    assert [one.source == COPY for one in first] == [True, False, True, False, False], (
        "the copies of logistic are equal"
    )
    assert len({one.member for one in first}) == 5


def test_a_member_with_three_copies_gains_less_from_another_than_one_with_half_of_its_weight() -> None:
    made = composed(
        "{many: {kind: random_forest, copies: 3}, one: {kind: extra_trees}}",
        losses={"many": 0.5, "many.2": 0.5, "many.3": 0.5, "one": 0.5},
    )
    made = with_weights(made, many=0.25, **{"many.2": 0.2, "many.3": 0.2, "one": 0.35})

    (first,) = proposed(Additions(made), made, 1)

    # 0.65 / (3 * 4) < 0.35 / (1 * 2)
    assert first.label == "one.2"


def test_a_copy_that_brought_nothing_is_the_last_of_its_member() -> None:
    made = composed("{trees: {kind: random_forest}}", losses={"trees": 0.5})
    proposals = Additions(made)
    (copy,) = proposed(proposals, made, 1)

    proposals.is_useless(copy)

    assert copy.label == "trees.2"
    assert all(one.source != COPY for one in proposed(proposals, made, 2))


def test_the_other_source_has_its_turn_after_an_addition_and_an_entry_is_proposed_once() -> None:
    made = composed("{trees: {kind: random_forest}}", losses={"trees": 0.5})
    proposals = Additions(made)
    copy, entry = proposed(proposals, made, 2)

    proposals.take(copy)
    assert [one.label for one in proposed(proposals, made, 2)] == [entry.label, copy.label]
    proposals.take(entry)
    assert proposed(proposals, made, 1) == [copy]
    assert entry.label not in [one.label for one in proposed(proposals, made, 50)]


def test_an_entry_that_the_job_has_under_any_name_is_not_proposed() -> None:
    every = proposed(Additions(made := composed("{alone: {kind: logistic}}", losses={"alone": 0.5})), made, 50)
    made = composed("{mine: {kind: random_forest}}", losses={"mine": 0.5})
    left = [one for one in proposed(Additions(made), made, 50) if one.source != COPY]

    assert "random_forest" in {one.params.kind for one in every}
    assert "random_forest" not in {one.params.kind for one in left}


def test_a_name_of_the_portfolio_that_the_job_uses_for_another_member_gets_a_number() -> None:
    made = composed("{svm: {kind: logistic}}", losses={"svm": 0.5})

    found = proposed(Additions(made), made, 50)

    assert [one.member for one in found if one.params.kind == "svm"] == ["svm-2"]


def test_a_network_of_the_portfolio_is_augmented_like_those_of_the_job() -> None:
    made = composed("{mine: {kind: net, arch: mlp, augment: {mirror: true, crop: 2}}}", losses={"mine": 0.5})

    networks = [one.params for one in proposed(Additions(made), made, 50) if one.params.kind == "net"]

    assert len(networks) > 2
    assert {json.dumps(one.augment.model_dump(mode="json")) for one in networks} == {
        json.dumps(made.job.spec.members["mine"].augment.model_dump(mode="json"))
    }


def test_a_grown_member_has_the_keys_that_the_job_file_would_have_given_it() -> None:
    made = composed("{trees: {kind: random_forest}}", losses={"trees": 0.5})
    copy, entry = proposed(Additions(made), made, 2)

    grown = make_plan(with_additions(made.job, [copy, entry]).spec, made.plan.context, alone(LAPTOP))

    asked = plan_of("{trees: {kind: random_forest, copies: 2}}")
    assert [task.key for task in grown.tasks if task.member == "trees"] == [task.key for task in asked.tasks]
    assert grown.labels == ("trees", "trees.2", entry.member), "the first copy keeps its label"
    assert asked.labels == ("trees.1", "trees.2")
    file = {entry.member: {"kind": entry.params.kind, **entry.params.model_dump(mode="json", exclude_unset=True)}}
    assert [task.key for task in grown.of(entry.label)] == [task.key for task in plan_of(json.dumps(file)).tasks]


def test_copies_share_their_recipe_in_a_job_that_grows() -> None:
    spec = spec_of("grow: true\ndata: digits\nmembers: {a: {kind: net, arch: mlp, ema: 0.9, copies: 2}, b: svm}\n")

    assert recipes_of(spec, ["a", "a.ema", "a.2", "a.2.ema", "b"]) == ("a", "a.ema", "a", "a.ema", "b")


def small_portfolio(monkeypatch: pytest.MonkeyPatch, *members: dict[str, Any]) -> None:
    """Let the portfolio have only these members."""
    entries = tuple(PortfolioEntry(name=f"entry{n}", source="a test", params=one) for n, one in enumerate(members))
    monkeypatch.setattr(additions, "portfolio", lambda signature, rows: entries)


def test_a_job_keeps_what_lowers_its_loss_and_ends_after_additions_that_do_not(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    better = {"kind": "logistic"}
    same = [{"kind": "logistic", "max_iter": 1001 + more} for more in range(PATIENCE)]
    small_portfolio(monkeypatch, better, *same, {"kind": "knn"})
    job = {**GROWING, "members": {"odd": {"kind": "odd"}}}

    board = here.run(job, "execution.budget=1h")

    # then: what predicts better than the frequencies of the classes is added, and what predicts the same is not
    growth = board["growth"]
    assert [(row["name"], row["added"]) for row in growth["tried"]] == [
        ("odd.2", False),
        ("entry0", True),
        *((f"entry{number}", False) for number in range(1, PATIENCE + 1)),
    ]
    assert growth["ended"] == "6 additions in a row brought nothing"
    assert [row["name"] for row in board["members"]] == ["odd", "entry0"]
    assert board["tasks"] == {"total": 4, "trained": 4, "reused": 0, "failed": 0}
    assert "entry0 added: cross-fitted loss" in here.said and "nothing more is added: 6 additions" in here.said
    # then: the loss is that of the saved predictions
    arrays = np.load(here.newest_run() / "oof.npz")
    assert growth["tried"][1]["loss"] == pytest.approx(log_loss(arrays["y"], arrays["ensemble"]), abs=1e-5)
    assert growth["tried"][1]["loss"] < growth["loss"]

    # when: a job file asks for the same members
    asked = here.run({**job, "grow": False, "members": {**job["members"], "entry0": better}})

    # then: nothing is trained, and the ensemble is the same
    assert asked["tasks"] == {"total": 4, "trained": 0, "reused": 4, "failed": 0}
    assert asked["oof_sha256"] == board["oof_sha256"] and asked["ensemble"] == board["ensemble"]
    assert "growth" not in asked

    # when: the growing job is started again
    again = here.run(job, "execution.budget=1h")

    # then: it finds its additions in the store, also those that brought nothing
    assert again["tasks"] == {"total": 4, "trained": 0, "reused": 4, "failed": 0}
    assert again["growth"] == growth and again["ensemble"] == board["ensemble"]


def test_the_record_of_a_grown_run_names_its_members(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "extra_trees", "trees": 50}, {"kind": "logistic"})

    board = here.run({**GROWING, "members": {"trees": {"kind": "random_forest", "trees": 3}}}, "execution.budget=1h")

    spec = RunFolder(here.newest_run()).spec()
    copies = sum(row["name"].startswith("trees") for row in board["members"])
    assert copies > 1, "three trees vary much, so another three help"
    assert spec.members["trees"].copies == copies and spec.members["entry0"].trees == 50
    assert recipes_of(spec, [row["name"] for row in board["members"]])[: copies + 1] == (
        *(["trees"] * copies),
        "entry0",
    )
    text = (here.newest_run() / "leaderboard.txt").read_text()
    assert "additions lowered the cross-fitted loss from" in text and "ended because" in text


def test_what_does_not_fit_into_the_budget_is_passed_over(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "odd", "price": 100_000}, {"kind": "extra_trees", "trees": 30})

    board = here.run({**GROWING, "members": {"odd": {"kind": "odd"}}}, "execution.budget=300s")

    assert [row["name"] for row in board["growth"]["tried"]][:2] == ["odd.2", "entry1"]
    assert "entry1" in [row["name"] for row in board["members"]]


def test_there_is_no_addition_that_does_not_fit_into_the_budget(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "odd", "price": 100_000})

    board = here.run({**GROWING, "members": {"logistic": {"kind": "logistic"}}}, "execution.budget=100s")

    assert board["growth"]["tried"] == []
    assert board["growth"]["ended"].startswith("the time was up: entry0 takes about ")
    assert board["budget"]["used_seconds"] < 90
    assert board["ensemble"]["oof"]["nll"] == pytest.approx(board["growth"]["loss"], abs=1e-5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def test_a_job_with_frozen_features_tries_those_of_the_mirror_images(
    here: Here, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portfolio(monkeypatch)
    heads = {"one": {"kind": "logistic"}, "other": {"kind": "naive_bayes"}}

    board = here.run(features_job(weights, members=heads, grow=True), "execution.budget=1h")

    (tried,) = board["growth"]["tried"]
    weights_of = {row["name"]: row["weight"] for row in board["members"] if row["name"] in heads}
    assert tried["source"] == MIRRORED and tried["name"] == f"{max(weights_of, key=weights_of.__getitem__)}-mirrored"
    assert board["growth"]["ended"] == "there was nothing left to add"


def test_an_addition_is_estimated_with_the_features_that_it_requires(
    here: Here, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portfolio(monkeypatch)
    monkeypatch.setattr(planner, "image_seconds", lambda backbone, shape: 1000.0 if backbone.mirrored else 1e-4)

    board = here.run(features_job(weights, members={"one": {"kind": "logistic"}}, grow=True), "execution.budget=100s")

    assert board["growth"]["tried"] == []
    assert board["growth"]["ended"].startswith("the time was up: one-mirrored takes about ")


def test_an_addition_is_estimated_with_fits_that_wait_for_its_features(
    here: Here, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portfolio(monkeypatch)
    measured = Estimates.seconds

    def seconds(self: Estimates, task: Task) -> float:
        if isinstance(task, FeatureTask):
            return 60.0 if task.backbone.mirrored else measured(self, task)
        return 30.0 if isinstance(task, FitTask) and task.member == "one-mirrored" else measured(self, task)

    monkeypatch.setattr(Estimates, "seconds", seconds)
    # enough workers for all tasks: if the fits did not wait, they would end before the features
    monkeypatch.setattr(growth, "WorkerShares", lambda units, executor, most: lambda task: 0.1)

    board = here.run(features_job(weights, members={"one": {"kind": "logistic"}}, grow=True), "execution.budget=80s")

    assert board["growth"]["tried"] == []
    assert board["growth"]["ended"].startswith("the time was up: one-mirrored takes about 9")


def test_features_in_the_store_add_nothing_to_the_estimate(
    here: Here, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portfolio(monkeypatch)
    job = features_job(weights, members={"one": {"kind": "logistic"}}, grow=True)
    here.run(job, "execution.budget=1h")
    monkeypatch.setattr(planner, "image_seconds", lambda backbone, shape: 1000.0)

    board = here.run(job, "execution.budget=100s", "seed=1")

    assert board["tasks"]["trained"] > 0
    assert [row["source"] for row in board["growth"]["tried"]] == [MIRRORED]


def test_a_job_that_has_mirrored_features_does_not_try_them_again(
    here: Here, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portfolio(monkeypatch)
    mirrored = {"arch": ARCH, "weights": str(weights), "size": 32, "mirrored": True}
    heads = {"one": {"kind": "logistic"}, "other": {"kind": "naive_bayes", "features": mirrored}}

    board = here.run(features_job(weights, members=heads, grow=True), "execution.budget=1h")

    assert board["growth"]["tried"] == []
    assert "mirrored training images, computed once" in here.said


def test_an_addition_that_fails_is_named_and_changes_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "odd", "what": "raise"})

    board = here.run({**GROWING, "members": {"logistic": {"kind": "logistic"}}}, "execution.budget=1h")

    (tried,) = board["growth"]["tried"]
    assert not tried["added"] and tried["loss"] is None and "this member always raises" in tried["note"]
    assert board["growth"]["ended"] == "there was nothing left to add"
    assert board["tasks"]["failed"] == 0 and [row["name"] for row in board["members"]] == ["logistic"]


def test_an_addition_that_does_not_end_in_time_is_left_out(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "odd", "seconds": 60, "price": 0.001})
    begun = time.monotonic()

    board = here.run({**GROWING, "members": {"logistic": {"kind": "logistic"}}}, "execution.budget=8s")

    assert time.monotonic() - begun < 14, "the budget, and some for a busy machine"
    (tried,) = board["growth"]["tried"]
    assert (tried["added"], tried["note"]) == (False, "there was no time for it")
    assert board["growth"]["ended"] == "the time was up"
    assert board["budget"]["out_of_time"] == [] and [row["status"] for row in board["members"]] == ["ok"]


@pytest.mark.parametrize("change", [{}, {"grow": False, "execution": {"executor": "local", "budget": "1h"}}])
def test_without_a_budget_or_without_grow_nothing_is_added(here: Here, change: dict[str, Any]) -> None:
    board = here.run({**GROWING, **change, "members": {"logistic": {"kind": "logistic"}}})

    assert "growth" not in board and "trying" not in here.said
    assert [row["name"] for row in board["members"]] == ["logistic"]


@pytest.mark.system
def test_a_small_job_grows_from_the_portfolio_and_its_bundle_has_the_members(here: Here) -> None:
    wine = load_wine(as_frame=True).frame.sample(frac=1, random_state=0)
    wine.to_csv(here.folder / "wine.csv", index=False)
    data = {"kind": "csv", "train": "wine.csv", "label": "target"}
    members = {"trees": {"kind": "random_forest", "trees": 5}}

    board = here.run({**GROWING, "data": data, "members": members}, "execution.budget=1h", pictures=True)

    added = [row["name"] for row in board["growth"]["tried"] if row["added"]]
    assert added and {*added, "trees"} == {row["name"] for row in board["members"]}
    losses = [board["growth"]["loss"], *(row["loss"] for row in board["growth"]["tried"] if row["added"])]
    assert losses == sorted(losses, reverse=True) and len(set(losses)) == len(losses)
    assert board["ensemble"]["oof"]["nll"] == pytest.approx(losses[-1], abs=1e-5)
    weighted = {row["name"] for row in board["members"] if row["weight"] > 0}
    bundle = Bundle.load(here.newest_run() / "bundle")
    table = Table.of(wine.drop(columns="target"), bundle.signature)
    assert set(bundle.predict(table, members=True).members or {}) == weighted
    page = (here.newest_run() / "report.html").read_text()
    assert "<h3>Growth</h3>" in page and all(name in page for name in added)


def test_the_classifier_grows_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    small_portfolio(monkeypatch, {"kind": "logistic"})

    ensemble = EnsembleClassifier({"odd": {"kind": "odd"}}, budget="1h", grow=True, validation={"folds": 2})
    ensemble.fit(*load_wine(return_X_y=True))

    assert set(ensemble.leaderboard_["name"]) == {"ensemble", "odd", "entry0"}
