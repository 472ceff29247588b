"""The portfolio: every entry is a valid member, and each is used for the data that it is meant for."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.tiny import LAPTOP, TINY_COLUMNS, alone, spec_of, tiny_data, tiny_table, two_folds

from quorate.data.signature import ImageSignature
from quorate.plan.identity import identity_of
from quorate.plan.planner import make_plan
from quorate.plan.portfolio import Of, PortfolioEntry, every_entry, portfolio
from quorate.plan.tasks import JobData
from quorate.registry import MEMBERS

EVERY = [(of, entry) for of, entries in every_entry().items() for entry in entries]
SOURCES = ("TabRepo: ", "AutoGluon: ", "defaults: ", "Quorate: ", "He et al.", "Zagoruyko ", "Saxe et al.", "timm: ")


@pytest.mark.parametrize(("of", "entry"), EVERY, ids=[f"{of}-{entry.name}" for of, entry in EVERY])
def test_each_entry_is_a_valid_member_with_a_source(of: Of, entry: PortfolioEntry) -> None:
    if not entry.is_installed:
        pytest.skip(f"{entry.params['kind']} is not installed")
    model = MEMBERS.get(entry.params["kind"]).Params

    for rows in (20, 400, 5_000, 50_000):
        model.model_validate(entry.member(of, rows))
    model.model_validate({**entry.params, **entry.cheaper})
    assert entry.source.startswith(SOURCES)
    assert (entry.rows_seen is None) == (entry.params["kind"] != "net"), "a network needs a number of epochs"


def test_names_and_configurations_occur_once_and_there_are_many_of_the_strong_kinds() -> None:
    for of, entries in every_entry().items():
        names = Counter(entry.name for entry in entries)
        assert max(names.values()) == 1
        installed = [entry for entry in entries if entry.is_installed]
        made = [MEMBERS.get(one.params["kind"]).Params.model_validate(one.member(of, 500)) for one in installed]
        assert len({str(identity_of(one)) for one in made}) == len(made)
    kinds = Counter(entry.params["kind"] for entry in every_entry()["table"])
    assert kinds["lightgbm"] >= 10 and kinds["catboost"] >= 9 and len(every_entry()["image"]) >= 10


@pytest.mark.parametrize("rows", [500, 50_000])
def test_the_first_entries_for_tables_are_of_different_kinds(rows: int) -> None:
    first = [entry.params["kind"] for entry in portfolio(TINY_COLUMNS, rows)[:9]]

    assert len(set(first)) == 7


def test_entries_for_other_numbers_of_rows_or_sizes_of_images_are_left_out() -> None:
    few, many = ({entry.name for entry in portfolio(TINY_COLUMNS, rows)} for rows in (500, 100_000))
    small, large = ({entry.name for entry in portfolio(ImageSignature((s, s, 3)), 1000)} for s in (28, 160))

    assert "svm" in few and "svm" not in many and "boosting_deep" in many - few
    assert {"resnet", "svm"} <= small and "resnet10t" not in small
    assert "resnet10t" in large and not {"resnet", "svm", "mlp"} & large


@pytest.mark.parametrize(
    ("rows", "epochs"), [(100, 40), (999, 40), (1_000, 80), (10_000, 50), (25_000, 20), (1_000_000, 5)]
)
def test_the_epochs_of_a_network_follow_from_the_rows_that_it_is_to_see(rows: int, epochs: int) -> None:
    entry = next(one for one in every_entry()["table"] if one.name == "mlp")
    assert entry.rows_seen == 500_000

    assert entry.member("table", rows)["epochs"] == epochs


def test_a_network_for_a_large_table_has_a_larger_batch_and_learning_rate() -> None:
    entry = next(one for one in every_entry()["table"] if one.name == "mlp")

    small, large = entry.member("table", 5_000), entry.member("table", 20_000)

    assert "batch_size" not in small and large["batch_size"] == 256
    assert large["lr"] == pytest.approx(4 * small["lr"]), "the batch is four times as large"


@pytest.mark.parametrize("of", ["table", "image"])
def test_every_entry_can_be_planned(of: Of) -> None:
    rows = tiny_table(rows=60) if of == "table" else tiny_data(rows=60, shape=(16, 16, 3))
    entries = [one for one in portfolio(rows.signature, 30) if not one.params["kind"].startswith("timm")]
    members = {entry.name: entry.member(of, 30) for entry in entries}
    spec = spec_of("data: digits\nmembers: " + str(members).replace("True", "true") + "\n")

    plan = make_plan(spec, JobData(rows, None, two_folds(60)), alone(LAPTOP))

    assert len(plan.tasks) == 2 * len(members) and len({task.key for task in plan.tasks}) == len(plan.tasks)
