"""Greedy ensemble selection: which members to average, and how often each."""

from __future__ import annotations

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibration import true_class_proba

MOST_ROWS = 1_000_000
TIE = 1e-12  # nats
GROUP = 16


def greedy_selection(
    *,
    proba: Proba,
    y: Labels,
    temperatures: Floats | None = None,
    rounds: int = 100,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> Floats:
    """Weights (M,) for tempered members (M, N, K) by forward selection with replacement on log-loss.

    Caruana et al. 2004, "Ensemble selection from libraries of models", section 2.1: in each round the
    member whose addition lowers the loss of the average most joins; the best prefix of the rounds is
    kept; ties go to members already in, which keeps the ensemble small. Above `most_rows` rows a
    sample of them, drawn by `seed`, decides.
    """
    if len(y) > most_rows:
        rows = np.sort(np.random.default_rng(seed).choice(len(y), most_rows, replace=False))
        proba, y = proba[:, rows], y[rows]
    temperatures = np.ones(len(proba)) if temperatures is None else temperatures
    true = true_class_proba(proba=proba, y=y, temperatures=temperatures)
    return _best_prefix(_joining_order(true, rounds), true)


def _joining_order(true: Floats, rounds: int) -> list[int]:
    """The member that joins in each round, for probabilities of the true class (M, N)."""
    n_members, n_rows = true.shape
    grouped = _grouped(true)
    total = np.zeros(grouped.shape[1:])
    total.reshape(-1)[n_rows:] = 1.0  # padding rows: log 1 = 0, whoever joins
    candidate = np.empty_like(total)
    inside = np.zeros(n_members, dtype=bool)
    order = []
    for _ in range(rounds):
        losses = np.empty(n_members)
        for member in range(n_members):
            np.add(total, grouped[member], out=candidate)
            losses[member] = -np.log(candidate.prod(axis=0)).sum() / n_rows
        tied = losses <= losses.min() + TIE
        eligible = tied & inside if (tied & inside).any() else tied
        chosen = int(np.where(eligible, losses, np.inf).argmin())
        total += grouped[chosen]
        inside[chosen] = True
        order.append(chosen)
    return order


def _grouped(true: Floats) -> Floats:
    """(M, N) as (M, 16, ceil(N / 16)), padded with zeros.

    The logarithm is most of the work, and one of a product of 16 rows serves them all: with every
    factor in [1e-12, 101] the product stays far inside float64.
    """
    n_members, n_rows = true.shape
    columns = -(-n_rows // GROUP)
    padded = np.zeros((n_members, GROUP * columns))
    padded[:, :n_rows] = true
    return padded.reshape(n_members, GROUP, columns)


def _best_prefix(order: list[int], true: Floats) -> Floats:
    total = np.zeros(true.shape[1])
    losses = []
    for size, member in enumerate(order, start=1):
        total += true[member]
        losses.append(-np.log(total / size).mean())
    size = int(np.argmin(losses)) + 1
    return np.bincount(order[:size], minlength=len(true)) / size
