"""Members weigh and draw rows as scikit-learn and PyTorch do with the same weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from tests.members.configurations import CONFIGURATIONS, configurations, trained
from tests.tiny import tiny_data, tiny_table
from torch import nn

from quorate.data.dataset import Dataset
from quorate.data.weighting import balanced_rows
from quorate.members.net_start import build_network
from quorate.registry import MEMBERS

SKEWED = tiny_table(rows=200, seed=4).take(np.r_[0:90, 90:200:3])
WEIGHTS = np.random.default_rng(1).uniform(0.2, 4, len(SKEWED)).astype(np.float32)
WEIGHTED = dataclasses.replace(SKEWED, weight=WEIGHTS)

REFERENCES: dict[str, Any] = {
    "random_forest": lambda: RandomForestClassifier(20, random_state=1),
    "extra_trees": lambda: ExtraTreesClassifier(20, random_state=1),
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "naive_bayes": lambda: GaussianNB(var_smoothing=1e-3),
    "svm": lambda: CalibratedClassifierCV(SVC(random_state=1, cache_size=500), cv=3, ensemble=False),
}


def noisy(rows: int, *, seed: int) -> Dataset:
    """A quarter of the labels is random, so that no member is certain of any row."""
    data, random = tiny_table(rows=rows, seed=seed), np.random.default_rng(seed)
    y = np.where(random.random(rows) < 0.25, random.integers(0, 3, rows), data.y)
    return dataclasses.replace(data, y=y)


NOISY, NEW = noisy(300, seed=5), noisy(200, seed=6)
RARE = NOISY.take(np.flatnonzero((NOISY.y != 2) | (np.arange(300) % 6 == 0)))
"""A sixth of the rows of the class 2."""

WEIGHS = [case for case in configurations(images=False) if MEMBERS.get(CONFIGURATIONS[case.values[0]]["kind"]).weighs]


def options(kind: str) -> dict[str, Any]:
    return {"kind": kind} | ({"trees": 20} if "tree" in kind or "forest" in kind else {})


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_weights_of_the_data_are_the_sample_weights_of_scikit_learn(kind):
    member = trained(options(kind), WEIGHTED, SKEWED)

    x = member.features(SKEWED.x)
    reference = REFERENCES[kind]().fit(x, SKEWED.y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(member.predict_proba(SKEWED.x), reference.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("asked", ["balanced", {"class 1": 6.0, "class 2": 0.5}])
def test_class_weights_are_those_of_scikit_learn(kind, asked):
    member = trained(options(kind) | {"class_weight": asked}, SKEWED, SKEWED)

    x = member.features(SKEWED.x)
    by_class = asked if asked == "balanced" else {0: 1.0, 1: 6.0, 2: 0.5}
    weights = compute_sample_weight(by_class, SKEWED.y).astype(np.float32)
    reference = REFERENCES[kind]().fit(x, SKEWED.y, sample_weight=weights)
    np.testing.assert_allclose(member.predict_proba(SKEWED.x), reference.predict_proba(x), atol=1e-5)


def test_class_weights_equal_those_of_the_estimator():
    member = trained({"kind": "logistic", "class_weight": "balanced"}, SKEWED, SKEWED)

    x = member.features(SKEWED.x)
    reference = LogisticRegression(max_iter=1000, class_weight="balanced").fit(x, SKEWED.y)
    np.testing.assert_allclose(member.predict_proba(SKEWED.x), reference.predict_proba(x), atol=1e-4)


def test_a_balanced_draw_is_what_the_estimator_learns_from():
    member = trained({"kind": "logistic", "sampling": "balanced"}, SKEWED, SKEWED, seed=5)

    x, rows = member.features(SKEWED.x), balanced_rows(SKEWED.y, seed=5)
    reference = LogisticRegression(max_iter=1000).fit(x[rows], SKEWED.y[rows])
    np.testing.assert_allclose(member.predict_proba(SKEWED.x), reference.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("name", WEIGHS)
def test_a_class_with_more_weight_is_predicted_more_often(name):
    """For every kind: if rows of a class have ten times the weight, the class is predicted more often."""
    plain, heavy = (
        trained({**CONFIGURATIONS[name], **more}, NOISY, NEW).predict_proba(NEW.x)[:, 2].mean()
        for more in ({}, {"class_weight": {"class 2": 10}})
    )

    assert heavy > plain + 0.03


@pytest.mark.parametrize("name", WEIGHS)
def test_equal_weights_change_nothing(name):
    ones = dataclasses.replace(SKEWED, weight=np.ones(len(SKEWED), np.float32))

    plain, same = (trained(CONFIGURATIONS[name], data, SKEWED).predict_proba(SKEWED.x) for data in (SKEWED, ones))

    np.testing.assert_allclose(same, plain, atol=1e-5)


@pytest.mark.parametrize("name", [c for c in configurations(images=False) if "svm" not in str(c.values[0])])
def test_balanced_sampling_predicts_a_rare_class_more_often(name):
    plain, drawn = (
        trained({**CONFIGURATIONS[name], **more}, RARE, NEW).predict_proba(NEW.x)[:, 2].mean()
        for more in ({}, {"sampling": "balanced"})
    )

    assert drawn > plain


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_network_weighs_each_rows_cross_entropy(smoothing):
    """One step on all rows, against PyTorch's loss with `weight=` or written out."""
    # given
    data = tiny_data(rows=30).take(np.r_[0:30:3, 1:15:3, 2])
    factors = torch.tensor([1.0, 3.0, 0.5])
    configuration = {
        "kind": "net",
        "arch": {"kind": "mlp", "hidden": [4]},
        "epochs": 1,
        "batch_size": 64,
        "label_smoothing": smoothing,
        "class_weight": {"class 1": 3.0, "class 2": 0.5},
    }

    # when
    plain = trained({**configuration, "class_weight": None}, data, data)
    weighted = trained(configuration, data, data)

    # then: the loss of the first epoch is that of the fresh network, in training mode
    torch.manual_seed(1)
    fresh = type(weighted)(weighted.params, signature=data.signature, n_classes=3)
    fresh.features = weighted.features
    network = build_network(fresh.params, shape=fresh._shape(), n_classes=fresh.n_classes).train()
    x = torch.from_numpy(weighted.features(data.x).reshape(16, 8, 8, 1)).permute(0, 3, 1, 2)
    logits, y = network(x), torch.from_numpy(data.y)
    if smoothing == 0:
        expected = nn.functional.cross_entropy(logits, y, weight=factors)
    else:
        rows = nn.functional.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
        expected = (rows * factors[y]).sum() / factors[y].sum()
    assert weighted.history[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert plain.history[0]["train_loss"] == pytest.approx(
        nn.functional.cross_entropy(logits, y, label_smoothing=smoothing).item(), rel=1e-4
    )
    assert weighted.history[0]["train_loss"] != pytest.approx(plain.history[0]["train_loss"], rel=1e-3)


def test_validation_figures_count_all_rows_the_same():
    configuration = {**CONFIGURATIONS["mlp"], "class_weight": "balanced"}

    member = trained(configuration, SKEWED, WEIGHTED)

    proba = member.predict_proba(SKEWED.x)
    expected = -np.log(proba[np.arange(len(SKEWED)), SKEWED.y]).mean()
    assert member.history[-1]["valid_loss"] == pytest.approx(expected, rel=1e-4)
    recall = recall_score(SKEWED.y, proba.argmax(axis=1), average="macro")
    assert member.history[-1]["valid_recall"] == pytest.approx(recall)


def test_a_network_with_balanced_sampling_resumes_to_the_same_bits():
    from tests.members.plain_run import PlainRun

    from quorate.training.context import Signal

    configuration = {**CONFIGURATIONS["mlp"], "sampling": "balanced", "class_weight": {"class 1": 2}}
    whole = trained(configuration, WEIGHTED, SKEWED)
    stopped = PlainRun(answers={6: Signal.STOP})
    trained(configuration, WEIGHTED, SKEWED, run=stopped)

    resumed = trained(configuration, WEIGHTED, SKEWED, run=stopped.resumed(6))

    np.testing.assert_array_equal(resumed.predict_proba(SKEWED.x), whole.predict_proba(SKEWED.x))
