"""Copies of one recipe: members that differ in their seed alone, and so count the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from quorate.ensemble.arrays import Floats


def together(members: Iterable[Floats], recipes: Sequence[str]) -> Iterator[Floats]:
    """The mean of the copies of each recipe, in the order of their last ones; `recipes` (M,) are those of the members.

    No more is held than the sums of recipes of which copies are still to come.
    """
    counts, sums = Counter(recipes), dict[str, Floats]()
    left = counts.copy()
    for member, recipe in zip(members, recipes, strict=True):
        sums[recipe] = sums[recipe] + member if recipe in sums else member
        left[recipe] -= 1
        if not left[recipe]:
            yield sums.pop(recipe) / counts[recipe]


def divided(weights: Floats, recipes: Sequence[str]) -> Floats:
    """The weights of the recipes, in the order of their last copies, divided among these: (M,)."""
    counts = Counter(recipes)
    last = {recipe: place for place, recipe in enumerate(recipes)}
    ordered = sorted(last, key=last.__getitem__)
    share = {recipe: float(weight) / counts[recipe] for recipe, weight in zip(ordered, weights, strict=True)}
    return np.array([share[recipe] for recipe in recipes])
