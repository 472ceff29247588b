"""Parameters that are chosen on held-out training rows: the splits, the choices, and where they are recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from tests.members.configurations import trained
from tests.members.plain_run import PlainRun

from quorate.data.dataset import Dataset
from quorate.data.in_memory import infer_inputs
from quorate.members.base import HEADER, load_member
from quorate.members.inner_validation import MANY_ROWS, held_out_losses, inner_splits, losses_of
from quorate.members.logistic import PENALTIES
from quorate.registry import MEMBERS


def data_of(x: np.ndarray, y: np.ndarray, **rest: np.ndarray) -> Dataset:
    return Dataset(infer_inputs(x), y.astype(np.int64), tuple(map(str, range(int(y.max()) + 1))), **rest)


def rows_of(*, rows: int = 150, columns: int = 30, useful: int = 2, wrong: float = 0.0, seed: int = 0) -> Dataset:
    """Two or three classes; of the columns, `useful` depend on the class, and `wrong` is the share of wrong labels."""
    x, y = make_classification(
        rows,
        columns,
        n_informative=useful,
        n_redundant=0,
        n_classes=2,
        n_clusters_per_class=1,
        flip_y=wrong,
        random_state=seed,
    )
    return data_of(x, y)


def splits_of(data: Dataset, **rest):
    numbers = np.arange(len(data), dtype=np.float32)[:, None]
    return inner_splits(numbers, data, weight=None, seed=3, **rest)


def test_each_row_is_held_out_once():
    splits = splits_of(rows_of())

    held = np.concatenate([split.held.x[:, 0] for split in splits])
    assert sorted(held) == list(range(150))
    for split in splits:
        assert not set(split.fit.x[:, 0]) & set(split.held.x[:, 0])
        np.testing.assert_allclose(np.bincount(split.held.y), [25, 25], atol=1)


def test_many_rows_are_held_out_once_only():
    data = data_of(np.zeros((MANY_ROWS, 1)), np.arange(MANY_ROWS) % 2)

    (split,) = splits_of(data)

    assert len(split.held.y) == pytest.approx(MANY_ROWS / 3, abs=1)


def test_no_group_is_on_both_sides():
    data = replace(rows_of(), groups=np.arange(150) // 10)

    splits = splits_of(data)

    assert len(splits) == 3
    for split in splits:
        assert not set(split.fit.x[:, 0] // 10) & set(split.held.x[:, 0] // 10)


def test_rows_in_time_are_held_out_after_those_before_them():
    time = np.random.default_rng(0).permutation(150).astype(np.float64)

    (split,) = splits_of(replace(rows_of(), time=time))

    assert time[split.fit.x[:, 0].astype(int)].max() < time[split.held.x[:, 0].astype(int)].min()
    assert len(split.held.y) == 50


def test_a_class_with_one_row_is_fitted_on_or_left_out():
    data = data_of(np.zeros((40, 1)), np.r_[np.arange(39) % 2, 2])

    for split in splits_of(data):
        assert set(split.held.y) <= set(split.fit.y)


def test_too_few_rows_are_not_split():
    assert splits_of(data_of(np.zeros((2, 1)), np.arange(2))) == ()


def test_balanced_sides_have_as_many_rows_of_each_class_and_share_none():
    data = data_of(np.zeros((90, 1)), (np.arange(90) % 9 == 0).astype(int))

    for split in splits_of(data, balanced=True):
        for side in (split.fit, split.held):
            counts = np.bincount(side.y)
            assert abs(counts[0] - counts[1]) <= 1
        assert not set(split.fit.x[:, 0]) & set(split.held.x[:, 0])


def test_a_held_out_loss_is_the_weighted_log_loss_of_scikit_learn():
    data, random = rows_of(), np.random.default_rng(0)
    proba, weight = random.dirichlet([1, 1], 150), random.uniform(0.5, 2, 150).astype(np.float32)
    (held, *_) = (split.held for split in splits_of(data))
    held = replace(held, x=np.zeros((len(held.y), 1), np.float32), weight=weight[: len(held.y)])

    found = held_out_losses(proba[: len(held.y)], np.array([0, 1]), held)

    assert found.mean() == pytest.approx(log_loss(held.y, proba[: len(held.y)], sample_weight=held.weight))


def test_a_tempered_loss_does_not_depend_on_the_confidence():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 400)
    logits = random.normal(size=(400, 3))
    logits[np.arange(400), y] += 1

    plain, *sharp = (losses_of(scale * logits, y, None, tempered=True).mean() for scale in (1, 4, 0.3))

    assert plain < losses_of(logits, y, None, tempered=False).mean()
    np.testing.assert_allclose(sharp, plain, rtol=1e-4)


@pytest.mark.parametrize(("useful", "columns"), [(2, 60), (10, 10)])
def test_logistic_regression_chooses_the_penalty_that_a_grid_search_finds(useful, columns):
    data = rows_of(columns=columns, useful=useful, wrong=0.2)

    member = trained({"kind": "logistic", "C": "auto"}, data, data)

    x = member.features(data.x)
    place = {tuple(row): number for number, row in enumerate(x.tolist())}
    cv = [
        tuple(np.array([place[tuple(row)] for row in side.x.tolist()]) for side in (split.fit, split.held))
        for split in inner_splits(x, data, weight=None, seed=1)
    ]
    model = LogisticRegression(max_iter=1000)
    search = GridSearchCV(model, {"C": PENALTIES}, cv=cv, scoring="neg_log_loss").fit(x, data.y)
    assert member.chosen["C"] == search.best_params_["C"]
    assert member.chosen["C"] == member.model.get_params()["C"]


def test_noise_needs_a_stronger_penalty():
    clean, noisy = (rows_of(columns=columns, useful=2, wrong=wrong) for columns, wrong in ((2, 0.0), (100, 0.4)))

    chosen = [trained({"kind": "logistic", "C": "auto"}, data, data).chosen["C"] for data in (clean, noisy)]

    assert chosen[0] > 10 * chosen[1]


AUTO = {
    "logistic": {"C": "auto"},
    "svm": {"C": "auto"},
    "extra_trees": {"min_samples_leaf": "auto", "max_features": "auto", "trees": 20, "smoothing": 1},
    "random_forest": {"min_samples_leaf": "auto", "max_features": "auto", "trees": 20, "smoothing": 1},
}


@pytest.mark.parametrize("kind", AUTO)
def test_what_was_chosen_is_recorded_and_repeatable(kind, tmp_path):
    data, run = rows_of(rows=90), PlainRun()

    member, again = (trained({"kind": kind, **AUTO[kind]}, data, data, run=each) for each in (run, PlainRun()))

    assert member.chosen
    for name, value in member.chosen.items():
        assert run.reports[0][f"chosen_{name}"] == value
    assert member.chosen == again.chosen
    np.testing.assert_array_equal(member.predict_proba(data.x), again.predict_proba(data.x))
    member.save(tmp_path)
    assert json.loads((tmp_path / HEADER).read_text())["chosen"] == member.chosen
    loaded = load_member(tmp_path)
    assert loaded.chosen == member.chosen
    np.testing.assert_array_equal(loaded.predict_proba(data.x), member.predict_proba(data.x))


@pytest.mark.parametrize("kind", AUTO)
def test_a_search_costs_more_than_a_fit(kind):
    made, data = MEMBERS.get(kind), rows_of()

    plain, searched = (
        made.cost(made.Params.model_validate(params), signature=data.signature, rows=4000, n_classes=2)
        for params in (
            {"kind": kind, "trees": 20} if "trees" in AUTO[kind] else {"kind": kind},
            {"kind": kind, **AUTO[kind]},
        )
    )

    assert plain < searched


def test_stripes_need_small_leaves_and_noise_needs_large_ones():
    random = np.random.default_rng(0)
    x = random.uniform(size=(300, 1))
    stripes = np.floor(40 * x[:, 0]) % 2
    noise = random.uniform(size=300) < np.where(x[:, 0] < 0.5, 0.3, 0.7)
    params = {"kind": "extra_trees", "trees": 30, "min_samples_leaf": "auto", "smoothing": 1}

    chosen = [trained(params, data, data).chosen for data in (data_of(x, stripes), data_of(x, noise))]

    assert [each["min_samples_leaf"] for each in chosen] == [1, 3]


def test_votes_for_every_class_smooth_a_forest():
    data = rows_of()
    params = {"kind": "random_forest", "trees": 9}

    plain, smooth = (trained({**params, "smoothing": votes}, data, data).predict_proba(data.x) for votes in (0, 3))

    assert plain.min() == 0
    np.testing.assert_allclose(smooth, (9 * plain + 3 / 2) / 12, atol=1e-6)
