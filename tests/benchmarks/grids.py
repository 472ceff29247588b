"""Parameters of forests, logistic regression and the SVM: which rule loses least over several data sets.

`python -m tests.benchmarks.grids run FILE` measures, and adds to FILE, so that it can be ended and started again;
`python -m tests.benchmarks.grids table FILE` prints the result. Fixed before the first run:

- Training rows only: adult (6,000 rows), letter and satellite (3,000), dna, soybean, vehicle, digits, and 600
  photographs of flowers as features of a frozen network (tf_efficientnet_lite0, 128 pixels).
- Random forest and extra trees of 100 trees: `min_samples_leaf` in 1, 3, 5, 10 (for extra trees also 2, added after the
  first results), `max_features` in sqrt, .5, 1. Logistic regression: `C` from 1e-4 to 100 in steps of a factor of ten.
  SVM, with a temperature: `C` in .1, 1, 10, 100, `gamma` 1/4, 1 and 4 times 1 / (features x variance).
- Each is trained on two thirds of the rows and scored on the rest: on two halves of them, or with fewer than 1,000 rows
  on two of three stratified folds. The loss is the log-loss after a temperature that is cross-fitted on the validation
  rows, because an ensemble calibrates its members.
- A forest is also scored with one vote more, which is spread evenly over the classes (`smoothed`, added after the first
  data sets): where all leaves are pure, no tree votes for some rows' classes, and their log-loss has no bound.
- The regret of a rule on a data set is log(loss / lowest loss of the grid), both averaged over the two parts.
- Rules: what `quorate init` wrote before (`before`), each constant, and the choice among a short list by the loss on
  held-out rows: the choice is made on one part and scored on the other. For logistic regression and the SVM, the choice
  by the loss without a temperature is compared too.
- A choice among a list is taken if its mean regret over the data sets is at least .01 below that of the best constant.
  The list is then the shortest one within .005 of the choice among the whole grid. Otherwise the best constant.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.known_data import training_rows

from quorate.data.features import Matrix, fit_features
from quorate.data.splitting import make_folds
from quorate.ensemble.crossfit import crossfitted_temperature, parts_of
from quorate.ensemble.metrics import nll
from quorate.registry import MEMBERS
from quorate.spec import ValidationSpec

ROWS = {
    "soybean": 472,
    "vehicle": 592,
    "digits": 1347,
    "dna": 2230,
    "satellite": 3000,
    "letter": 3000,
    "adult": 6000,
    "flowers": 600,
}
Values = tuple[Any, ...]
"""One point of a grid."""


def _shapes(*leaves: int) -> tuple[Values, ...]:
    return tuple(itertools.product(leaves, ("sqrt", 0.5, 1.0)))


GRIDS: dict[str, tuple[Values, ...]] = {
    "extra_trees": _shapes(1, 2, 3, 5, 10),
    "random_forest": _shapes(1, 3, 5, 10),
    "logistic": tuple((10.0**power,) for power in range(-4, 3)),
    "svm": tuple(itertools.product((0.1, 1.0, 10.0, 100.0), (0.25, 1.0, 4.0))),
}
FORESTS = ("extra_trees", "random_forest")
TREES = 100
FEW = 1000
PARTS = 2
"""Number of parts of the validation rows: the choice on one is scored on the other."""


def params_of(kind: str, values: Values, x: Matrix) -> dict[str, Any]:
    if kind == "logistic":
        return {"C": values[0]}
    if kind == "svm":
        gamma = values[1] / (x.shape[1] * float(x.var()))
        return {"C": values[0], "gamma": gamma, "calibration": "temperature"}
    return {"trees": TREES, "min_samples_leaf": values[0], "max_features": values[1]}


def measure(data: str, kinds: list[str], done: set[str]) -> Iterator[dict[str, Any]]:
    rows = training_rows(data, ROWS[data])
    folds = make_folds(rows.y, ValidationSpec(scheme="kfold", folds=3), 0).folds[: 1 if len(rows) > FEW else PARTS]
    for (number, fold), kind in itertools.product(enumerate(folds), kinds):
        made = MEMBERS.get(kind)
        train, valid = rows.take(fold.train), rows.take(fold.valid)
        features = fit_features(train.x, standardize=made.Params().standardize, encoding=made.encoding)
        x, held = features(train.x), features(valid.x)
        for values in GRIDS[kind]:
            if name_of(data, kind, values, number) in done:
                continue
            params = made.Params(**params_of(kind, values, x))
            member = made(params, signature=rows.signature, n_classes=rows.n_classes)
            estimator = member.estimator(seed=number, y=train.y)
            began = time.perf_counter()
            proba = np.zeros((len(valid), rows.n_classes))
            estimator.fit(x, train.y)
            proba[:, estimator.classes_] = estimator.predict_proba(held)
            seconds = round(time.perf_counter() - began, 2)
            smooth = (TREES * proba + 1 / rows.n_classes) / (TREES + 1)
            parts = list(parts_of(valid.y, splits=5, seed=0))
            tempered, smoothed = (crossfitted_temperature(each, valid.y, parts) for each in (proba, smooth))
            halves = [np.arange(len(valid))[start::PARTS] for start in range(PARTS)]
            for part, own in enumerate(halves) if len(rows) > FEW else [(number, np.arange(len(valid)))]:
                losses = {"raw": nll(proba[own], valid.y[own]), "loss": nll(tempered[own], valid.y[own])}
                losses |= {"smoothed": nll(smoothed[own], valid.y[own])} if kind in FORESTS else {}
                yield {"name": name_of(data, kind, values, part), **losses, "seconds": seconds}


def name_of(data: str, kind: str, values: Values, part: int) -> str:
    return " ".join(map(str, (data, kind, *values, part)))


def run(file: Path, names: list[str], kinds: list[str]) -> None:
    done = {json.loads(line)["name"] for line in file.read_text().splitlines()} if file.exists() else set()
    with file.open("a") as out:
        for data in names:
            for found in measure(data, kinds, done):
                print(json.dumps(found), file=out, flush=True)


Losses = NDArray[np.float64]
"""Losses (parts, points of the grid)."""


def losses_of(file: Path, kind: str, field: str) -> dict[str, Losses]:
    """The losses of a kind by data set; data sets that are not complete are left out."""
    found = {one["name"]: one[field] for one in map(json.loads, file.read_text().splitlines())}
    losses = {}
    for data in ROWS:
        names = [[name_of(data, kind, values, number) for values in GRIDS[kind]] for number in range(PARTS)]
        if all(name in found for name in itertools.chain(*names)):
            losses[data] = np.array([[found[name] for name in row] for row in names])
    return losses


def regret_of(losses: Losses, point: int) -> float:
    return float(np.log(losses[:, point].mean() / losses.mean(axis=0).min()))


def regret_of_choice(losses: Losses, among: tuple[int, ...], by: Losses) -> float:
    """The regret if each part uses what had the lowest loss `by` on the other part."""
    chosen = [among[by[1 - part, among].argmin()] for part in range(PARTS)]
    return float(np.log(np.mean([losses[part, chosen[part]] for part in range(PARTS)]) / losses.mean(axis=0).min()))


def before(kind: str, data: str) -> Values:
    """What `quorate init` wrote before this was measured."""
    if kind in ("logistic", "svm"):
        return (1.0, 1.0)[: len(GRIDS[kind][0])]
    if data in ("digits", "flowers"):  # images
        return (1, "sqrt")
    if kind == "extra_trees":
        return (5 if ROWS[data] * 2 / 3 >= 2000 else 2, 0.5)
    return (5 if ROWS[data] * 2 / 3 >= 2000 else 1, "sqrt")  # below 2,000 rows it was 2, which is not in the grid


def table(file: Path, kind: str, longest: int, field: str) -> None:
    grid, losses, raw = GRIDS[kind], losses_of(file, kind, field), losses_of(file, kind, "raw")
    plain = losses_of(file, kind, "loss")
    sets = list(losses)
    print(f"\n{kind}: {', '.join(sets)}")
    for data in sets:
        mean = losses[data].mean(axis=0)
        best = int(mean.argmin())
        print(f"  {data:10} best {grid[best]} {mean[best]:.4f}, before {mean[grid.index(before(kind, data))]:.4f}")
    whole = tuple(range(len(grid)))
    old = [plain[data].mean(axis=0)[grid.index(before(kind, data))] for data in sets]
    rows = [("before", [float(np.log(o / losses[d].mean(axis=0).min())) for o, d in zip(old, sets, strict=True)])]
    rows += [(str(values), [regret_of(losses[data], i) for data in sets]) for i, values in enumerate(grid)]
    rows += [("chosen among all", [regret_of_choice(losses[d], whole, losses[d]) for d in sets])]
    rows += [("chosen among all without a temperature", [regret_of_choice(losses[d], whole, raw[d]) for d in sets])]
    for size in range(2, longest + 1):
        lists = itertools.combinations(whole, size)
        best_list = min(lists, key=lambda some: np.mean([regret_of_choice(losses[d], some, losses[d]) for d in sets]))
        said = "chosen among " + ", ".join(str(grid[i]) for i in best_list)
        rows += [(said, [regret_of_choice(losses[data], best_list, losses[data]) for data in sets])]
    for name, regrets in sorted(rows, key=lambda row: float(np.mean(row[1]))):
        print(f"  {np.mean(regrets):.4f} (max {max(regrets):.4f}) {name}: {' '.join(f'{r:.3f}' for r in regrets)}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=["run", "table"])
    asked.add_argument("file", type=Path)
    asked.add_argument("--data", nargs="*", default=list(ROWS))
    asked.add_argument("--kinds", nargs="*", default=list(GRIDS))
    asked.add_argument("--field", default="loss", choices=["loss", "smoothed"])
    asked.add_argument("--longest", type=int, default=4)
    given = asked.parse_args()
    if given.what == "run":
        run(given.file, given.data, given.kinds)
    else:
        for kind in given.kinds:
            table(given.file, kind, given.longest, given.field)


if __name__ == "__main__":
    main()
