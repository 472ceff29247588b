"""Copies share the weight of their recipe, and combiners select among recipes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ensemble.samples import labels, member

from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.copies import divided, together
from quorate.registry import COMBINERS

RECIPES = ("net", "net", "net", "tree", "svm", "svm")
CHOOSING = ("calibrated_greedy", "diverse_greedy", "weighted")


def some_members(rows: int = 300, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=3)
    skills = [1.5, 1.5, 1.5, 1.2, 0.8, 0.8]
    return np.stack([member(rng, y, classes=3, skill=skill) for skill in skills]).astype(np.float32), y


def combiner(kind: str, recipes: tuple[str, ...] | None = RECIPES, **params):
    return combiner_of(COMBINERS.get(kind).Params.model_validate(params), recipes=recipes)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_mean_of_recipes_is_that_of_the_divided_weights(recipes: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = rng.dirichlet(np.ones(3), (len(recipes), 5))

    means = list(together(iter(members), recipes))
    weights = rng.dirichlet(np.ones(len(means)))

    assert len(means) == len(set(recipes))
    expected = np.einsum("r,rnk->nk", weights, np.stack(means))
    np.testing.assert_allclose(np.einsum("m,mnk->nk", divided(weights, recipes), members), expected, atol=1e-12)


@pytest.mark.parametrize("kind", CHOOSING)
def test_copies_have_equal_weights_unless_they_are_combined_individually(kind: str) -> None:
    proba, y = some_members()

    shared = combiner(kind).fit(proba=proba, y=y, seed=0).weights
    apart = combiner(kind, copies="apart").fit(proba=proba, y=y, seed=0).weights
    unknown = combiner(kind, None).fit(proba=proba, y=y, seed=0).weights

    assert shared[0] == shared[1] == shared[2] > 0 and shared[4] == shared[5]
    assert shared.sum() == pytest.approx(1)
    assert len(set(apart[:3])) > 1
    np.testing.assert_array_equal(apart, unknown)


@pytest.mark.parametrize("kind", [*CHOOSING, "auto"])
def test_members_without_copies_are_selected_as_before(kind: str) -> None:
    proba, y = some_members()
    distinct = tuple("abcdef")

    one, other = (combiner(kind, recipes).fit(proba=proba, y=y, seed=0) for recipes in (distinct, None))

    assert one.to_json() == other.to_json()


def test_a_subset_of_the_members_keeps_its_recipes() -> None:
    assert combiner("weighted").of([0, 3, 5]).recipes == ("net", "tree", "svm")
    assert combiner("weighted", None).of([0, 3]).recipes is None


def test_auto_passes_the_recipes_to_its_candidates() -> None:
    proba, y = some_members()

    weights = combiner("auto", candidates=["weighted"]).fit(proba=proba, y=y, seed=0).weights

    np.testing.assert_array_equal(weights, combiner("weighted").fit(proba=proba, y=y, seed=0).weights)


def test_on_few_rows_equal_weights_for_copies_are_better_than_selection() -> None:
    """Eight copies of one skill: what a few rows say of the difference between them is noise."""
    losses = {"together": [], "apart": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = labels(rng, rows=2100, classes=3)
        proba = np.stack([member(rng, y, classes=3, skill=1.5) for _ in range(8)]).astype(np.float32)
        for copies, found in losses.items():
            made = combiner("calibrated_greedy", ("net",) * 8, copies=copies)
            fitted = made.fit(proba=proba[:, :100], y=y[:100], seed=0)
            new = fitted.apply(proba[:, 100:])
            found.append(-np.log(new[np.arange(2000), y[100:]]).mean())

    assert np.mean(losses["together"]) < np.mean(losses["apart"])
