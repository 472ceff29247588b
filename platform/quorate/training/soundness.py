"""Distinguish losses and gradient norms that come from overwritten memory from those of a hard problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

Figures = Mapping[str, float]

ABSURD_NORM = 1e8
"""Maximum plausible mean gradient norm, divided by 1 + the training loss.

An assumption, not a measurement. Overwritten memory has given 5.85e9 with an ordinary loss.
"""
ABSURD_JUMP = 1e6
"""Maximum plausible ratio of an epoch's gradient norm to the median of the epochs before it at an unchanged loss. An
assumption, not a measurement: with warm-ups and high learning rates, norms are up to hundreds of times as high, and the
loss changes too."""
ORDINARY_NORM = 1e4
"""Norms up to this value always count as plausible, even if those before were small. An assumption, not a
measurement."""
SAME = 10.0
"""Maximum ratio between an epoch's losses, or gradient norms, in two attempts at a fit.

An assumption, not a measurement. Two attempts on the same CPU type with one thread are equal; other processors and
accelerators round differently.
"""


def unsound(figures: Figures, history: Sequence[Figures]) -> str | None:
    """Describe why an epoch's loss and gradient norm are implausible, given the epochs before; None if they are
    plausible."""
    norm, loss = figures["grad_norm"], figures["train_loss"]
    if not math.isfinite(norm):
        return f"the gradient norm is {norm}"
    if norm > ABSURD_NORM * (1 + abs(loss)):
        return f"the gradient norm is {norm:.3g}, and the training loss only {loss:.3g}"
    before = [epoch for epoch in history if epoch.get("grad_norm", 0) > 0]
    if not before:
        return None
    usual = median(epoch["grad_norm"] for epoch in before)
    worse = max(1.0, abs(loss) / max(median(abs(epoch["train_loss"]) for epoch in before), 1e-12))
    if norm > max(ORDINARY_NORM, ABSURD_JUMP * usual * worse):
        return (
            f"the gradient norm is {norm:.3g} after {usual:.3g} in the epochs before, and the training loss {loss:.3g}"
        )
    return None


def difference(first: Figures, second: Figures) -> str | None:
    """Describe how two attempts at the same epoch differ by more than rounding; None if they do not."""
    for name in ("train_loss", "grad_norm"):
        one, other = abs(first.get(name, 0.0)), abs(second.get(name, 0.0))
        least, most = min(one, other), max(one, other)
        if most > SAME * least and most > 1e-6:
            return f"{name} {first[name]:.3g} in one and {second[name]:.3g} in the other"
    return None
