"""The section on confusions between classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import binom

from quorate.ensemble.breakdown import by_class
from quorate.ensemble.intervals import wilson
from quorate.ensemble.metrics import confusion_matrix
from quorate.report.page.heat import Cell, level
from quorate.report.page.run import RunData, Split
from quorate.report.page.section import Remark, Section, act, good, many, note, percent
from quorate.report.page.svg import clip, drawing, rectangle, rule, text

AS_TABLE, AS_PICTURE, PAIRS = 20, 100, 12
"""Maximum number of classes for a matrix with numbers, the same for a drawn matrix, and number of confusions listed."""

STANDS_OUT, LEAST = 0.2, 10
"""Minimum fraction of the mistakes and minimum number of rows for reporting a pair of classes. Assumptions, not
measurements."""
RARE = 0.05
"""Significance level of the test whether a class's recall is lower than the overall accuracy, by convention."""


@dataclass(frozen=True)
class Confusion:
    """Rows of one class that were predicted as another class."""

    true: str
    predicted: str
    rows: int
    share: float
    """Fraction of the rows of the true class."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """The confusions on the rows of one split, as a table or a picture."""

    words: str
    cells: list[list[Cell]]
    recalls: list[str]
    picture: Markup | None
    pairs: list[Confusion]
    wrong: int


def section(run: RunData) -> Section:
    matrices = [_matrix(split, run.class_names) for split in run.splits]
    return Section(
        "confusion",
        "Confusions",
        "Each row of the matrix is a true class, each column a predicted class; the diagonal shows the correct "
        "predictions. The darker a cell, the larger its share of the rows of the true class.",
        list(_remarks(run, matrices[0])),
        {"matrices": matrices, "names": run.class_names},
    )


def _matrix(split: Split, names: Sequence[str]) -> ConfusionMatrix:
    counts = confusion_matrix(split.ensemble, split.y, len(names))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells, picture = [], None
    if len(names) <= AS_TABLE:
        cells = [[_cell(counts[i, j], shares[i, j], i == j) for j in range(len(names))] for i in range(len(names))]
    elif len(names) <= AS_PICTURE:
        picture = _picture(counts, shares, names, split.words)
    found = by_class(counts)
    recalls = ["–" if each.recall is None else percent(each.recall) for each in found]
    return ConfusionMatrix(
        split.words, cells, recalls, picture, _pairs(counts, names), int(counts.sum() - np.trace(counts))
    )


def _cell(count: int, share: float, diagonal: bool) -> Cell:
    style = f"{'hit' if diagonal else 'miss'} {level(share if diagonal else min(2.5 * share, 1))}" if count else "none"
    return Cell(str(count) if count else "·", style, percent(float(share)))


def _pairs(counts: NDArray[np.int64], names: Sequence[str]) -> list[Confusion]:
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        Confusion(names[i], names[j], int(off[i, j]), float(off[i, j] / counts[i].sum()))
        for i, j in places
        if off[i, j] > 0
    ]


def _picture(counts: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str], words: str) -> Markup:
    k = len(names)
    side = 15 if k <= 40 else 9
    left, top = 150, 26
    whole = side * k
    parts = [rectangle(left, top, whole, whole, "ground")]
    for i, j in np.argwhere(counts > 0).tolist():
        share = float(shares[i, j])
        kind = "hit" if i == j else "miss"
        shade = level(share if i == j else min(2.5 * share, 1))
        title = (
            f"{names[i]} predicted as {names[j]}: {counts[i, j]} ({percent(share)})"
            if i != j
            else (f"{names[i]}: {counts[i, i]} right ({percent(share)})")
        )
        parts.append(rectangle(left + side * j, top + side * i, side, side, f"cell {kind} {shade}", title))
    step = 1 if side > 10 else 2
    middle = top + side / 2 + 3.5
    parts += [text(left - 6, middle + side * i, clip(names[i], 22), "tick", "end", names[i]) for i in range(0, k, step)]
    parts.append(text(left, top - 10, "predicted, in the same order", "label"))
    parts += [rule(left, top + side * i, left + whole, top + side * i, "grid") for i in range(0, k + 1, 5)]
    parts += [rule(left + side * j, top, left + side * j, top + whole, "grid") for j in range(0, k + 1, 5)]
    label = f"Confusion matrix of {k} classes on the {words}; the most frequent confusions are listed below it."
    return drawing(left + whole + 8, top + whole + 8, label, *parts, style="natural")


def _remarks(run: RunData, matrix: ConfusionMatrix) -> Iterator[Remark]:
    if not matrix.pairs:
        yield good("All rows are predicted correctly.")
        return
    first = matrix.pairs[0]
    both = sum(pair.rows for pair in matrix.pairs if {pair.true, pair.predicted} == {first.true, first.predicted})
    share = both / matrix.wrong
    pair = f"“{clip(first.true, 40)}” and “{clip(first.predicted, 40)}”"
    if len(run.class_names) > 2 and share >= STANDS_OUT and both >= LEAST:
        yield act(
            f"{percent(share, 0)} of the {many(matrix.wrong, 'mistake')} are between {pair} ({both}): check their "
            "rows and labels, or collect data that distinguish the two classes."
        )
    elif len(run.class_names) > 2:
        yield note(f"No pair of classes stands out: the most frequent, {pair}, is {percent(share, 0)} of the mistakes.")
    split = run.oof
    counts = confusion_matrix(split.ensemble, split.y, len(run.class_names))
    overall = float(np.trace(counts) / counts.sum())
    for k in np.argsort(np.diag(counts) / np.maximum(counts.sum(axis=1), 1), kind="stable")[:1].tolist():
        support, right = int(counts[k].sum()), int(counts[k, k])
        low, high = wilson(right, max(support, 1))
        # Bonferroni correction: the lowest of many recalls can be low by chance.
        if support and binom.cdf(right, support, overall) * len(counts) < RARE:
            few = support < 0.5 * len(split) / len(run.class_names)
            todo = (
                "it is rare: collect more of its rows, or use a lower threshold for it if its recall matters most"
                if few
                else "check its rows first"
            )
            yield act(
                f"“{clip(run.class_names[k], 60)}” has the lowest recall: {percent(right / support)} of its "
                f"{support:,} rows (95 % interval {percent(low)} to {percent(high)}), against {percent(overall)} of "
                f"all rows; {todo}."
            )
        else:
            yield good("No class has a clearly lower recall than the others.")
