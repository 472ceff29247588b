"""Greedy ensemble selection: choose which members to average, and how often each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Labels, Mask
from quorate.ensemble.calibrator import true_class_proba
from quorate.ensemble.objectives import Objective, search_loss
from quorate.ensemble.threads import THREADS, in_threads

MOST_ROWS = 1_000_000
"""Maximum number of rows for a selection, to limit the time; if there are more, a sample is drawn. An assumption, not a
measurement."""
TIE = 1e-12
"""Losses that differ by less than this number of nats count as equal: the difference is a rounding error. An
assumption, not a measurement."""
GROUP = 16
"""Number of rows whose probabilities are multiplied before a logarithm is taken, see `_LogLoss`."""


def greedy_selection(
    *,
    members: Iterable[Floats],
    y: Labels,
    rounds: int = 100,
    objective: Objective = "nll",
    diversity: float = 0.0,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> Floats:
    """Return weights (M,) for calibrated `members`, each (N, K), by forward selection with replacement.

    Caruana et al. 2004, "Ensemble selection from libraries of models", section 2.1. Each round adds the member that
    lowers the loss of the average most. The best prefix of the rounds is kept. Ties go to members that are already
    selected, which keeps the ensemble small. Above `most_rows` rows, a sample drawn with `seed` is used.

    With `diversity` d, the criterion is the loss of the average minus d times its ambiguity. The ambiguity is the mean
    log-loss of the selected members minus the log-loss of their average, and is never negative (Wood et al. 2023, "A
    unified theory of diversity in ensemble learning"). The best prefix is chosen by the loss alone.
    """
    if len(y) > most_rows:
        rows = np.sort(np.random.default_rng(seed).choice(len(y), most_rows, replace=False))
        members, y = (member[rows] for member in members), y[rows]
    averages: _LogLoss | _AnyLoss
    if objective == "nll":
        averages = _LogLoss(true := true_class_proba(members, y))
    else:
        averages = _AnyLoss(whole := list(members), y, objective)
        true = true_class_proba(whole, y)
    alone = -np.log(true).mean(axis=1)
    order = _joining_order(averages.candidates, averages.join, alone, rounds=rounds, diversity=diversity)
    losses = averages.prefixes(order)
    size = int(np.argmin(losses)) + 1
    return np.bincount(order[:size], minlength=len(true)) / size


def _joining_order(
    candidates: Callable[[], Floats], join: Callable[[int], None], losses: Floats, *, rounds: int, diversity: float
) -> list[int]:
    """Return the member that is added in each round; `losses` (M,) are the log-losses of the single members."""
    inside: Mask = np.zeros(len(losses), dtype=bool)
    order: list[int] = []
    total = 0.0
    for _ in range(rounds):
        found = candidates()
        if diversity:
            found = (1 + diversity) * found - diversity * (total + losses) / (len(order) + 1)
        tied = found <= found.min() + TIE
        eligible = tied & inside if (tied & inside).any() else tied
        chosen = int(np.where(eligible, found, np.inf).argmin())
        join(chosen)
        inside[chosen] = True
        total += losses[chosen]
        order.append(chosen)
    return order


class _LogLoss:
    """Log-losses of growing averages, computed only from the probabilities of the true class (M, N).

    The logarithm takes most of the time, so it is taken once for the product of 16 rows. Every factor is in [1e-12,
    101], so the product stays within the range of float64.
    """

    def __init__(self, true: Floats) -> None:
        self._true, self._grouped = true, _grouped(true)
        self._total = np.zeros(self._grouped.shape[1:])
        self._total.reshape(-1)[true.shape[1] :] = 1.0  # padding rows: log 1 = 0 for every member
        self._halves = np.array_split(np.arange(len(true)), THREADS)
        self._size = 0

    def candidates(self) -> Floats:
        """Return the log-loss of the average with each member added (M,)."""
        losses: Floats = np.concatenate(list(in_threads(self._sums, self._halves, numbers=self._true.size)))
        losses += np.log(self._size + 1)
        return losses

    def _sums(self, members: NDArray[np.intp]) -> Floats:
        """Return the log-losses of the sums with each of these members added."""
        total, losses = np.empty_like(self._total), np.empty(len(members))
        for place, member in enumerate(members):
            np.add(self._total, self._grouped[member], out=total)
            losses[place] = -np.log(total.prod(axis=0)).sum() / self._true.shape[1]
        return losses

    def join(self, member: int) -> None:
        self._total += self._grouped[member]
        self._size += 1

    def prefixes(self, order: Sequence[int]) -> list[float]:
        """Return the log-loss of the average of the first, the first two, … members in `order`."""
        total, losses = np.zeros(self._true.shape[1]), []
        for size, member in enumerate(order, start=1):
            total += self._true[member]
            losses.append(float(-np.log(total / size).mean()))
        return losses


class _AnyLoss:
    """Like `_LogLoss`, but for any objective, from the probabilities of all classes."""

    def __init__(self, members: Sequence[Floats], y: Labels, objective: Objective) -> None:
        self._members, self._y, self._objective = members, y, objective
        self._total = np.zeros_like(members[0], dtype=np.float64)

    def candidates(self) -> Floats:
        return np.array([search_loss(self._objective, self._total + member, self._y) for member in self._members])

    def join(self, member: int) -> None:
        self._total += self._members[member]

    def prefixes(self, order: Sequence[int]) -> list[float]:
        total, losses = np.zeros_like(self._total), []
        for member in order:
            total += self._members[member]
            losses.append(search_loss(self._objective, total, self._y))
        return losses


def _grouped(true: Floats) -> Floats:
    """Reshape (M, N) to (M, 16, ceil(N / 16)), padded with zeros."""
    n_members, n_rows = true.shape
    columns = -(-n_rows // GROUP)
    padded = np.zeros((n_members, GROUP * columns))
    padded[:, :n_rows] = true
    return padded.reshape(n_members, GROUP, columns)
