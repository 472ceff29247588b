"""Copies of one recipe: members that differ only in their seeds, and therefore share one weight equally."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from quorate.ensemble.arrays import Floats


def together(members: Iterable[Floats], recipes: Sequence[str]) -> Iterator[Floats]:
    """Yield the mean of the copies of each recipe, in the order of their last copies; `recipes` (M,) are the members'
    recipes. To save memory, only sums of recipes with further copies are kept.
    """
    counts, sums = Counter(recipes), dict[str, Floats]()
    left = counts.copy()
    for member, recipe in zip(members, recipes, strict=True):
        sums[recipe] = sums[recipe] + member if recipe in sums else member
        left[recipe] -= 1
        if not left[recipe]:
            yield sums.pop(recipe) / counts[recipe]


def divided(weights: Floats, recipes: Sequence[str]) -> Floats:
    """Divide the weights of the recipes, in the order of their last copies, equally among the copies; return (M,)."""
    counts = Counter(recipes)
    last = {recipe: place for place, recipe in enumerate(recipes)}
    ordered = sorted(last, key=last.__getitem__)
    share = {recipe: float(weight) / counts[recipe] for recipe, weight in zip(ordered, weights, strict=True)}
    return np.array([share[recipe] for recipe in recipes])
