"""Makes a soup of a finished run's networks: the mean of their weights, fold by fold, as a bundle of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import read_manifest
from quorate.data.dataset import Dataset, Rows
from quorate.data.folds import FoldsError, latest_rows, whole_groups
from quorate.distilling import crossfitted_temperature
from quorate.ensemble.arrays import Floats, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperature
from quorate.ensemble.crossfit import parts_of
from quorate.ensemble.metrics import nll, row_nll, scores
from quorate.ensemble.soup import GreedySoup, greedy_soup
from quorate.errors import UserError, did_you_mean
from quorate.execution.choose import Workplace
from quorate.finished import Finished
from quorate.job import plan_job
from quorate.members.base import HEADER, Member, files_of, member_of
from quorate.members.net import Net
from quorate.members.net_params import NetParams
from quorate.packing import Alone, pack_alone
from quorate.plan import FitTask, Plan, derive_seed, identity_of
from quorate.results import Results
from quorate.scoring.output import writing
from quorate.store import Store

NAME = "soup"
FIGURES = "soup.json"
MOST_REASONS = 15
"""Pairs whose reason a refusal names."""

Files = Mapping[str, bytes]
Watch = Callable[[int, int], None]
"""Sees the fold that is souped, from 1, and how many there are."""


@dataclass(frozen=True, eq=False)
class Ingredient:
    """One network of the ensemble, with the files of each fold's model."""

    label: str
    params: NetParams
    start: str
    """Which weights it began from: equal for equal ones."""
    folds: Mapping[int, Files]


@dataclass(frozen=True, eq=False)
class FoldSoup:
    """The soup of one fold; all probabilities are of the fold's validation rows `rows`.

    It was chosen on the half `choice` of them and is estimated on the half `estimate`.
    """

    fold: int
    rows: Rows
    choice: NDArray[np.int64]
    estimate: NDArray[np.int64]
    found: GreedySoup
    model: Net
    proba: Proba
    ingredients: Sequence[Proba]


@dataclass(frozen=True)
class Candidates:
    """Networks that can be averaged, and why others cannot."""

    chosen: tuple[Ingredient, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Reason by member."""


def find_ingredients(run: Finished, store: Store, members: Sequence[str] | None = None) -> Candidates:
    """The largest group of the run's networks that can be averaged, among `members` where some are named.

    Raises `UserError` that says why no two can, or why one of the named ones cannot.
    """
    plan = plan_job(run.job, run.context, Workplace("local", None, lambda executor: None))
    labels = _named(plan, members) if members is not None else list(plan.labels)
    results, places = Results(store), _places(run)
    networks: list[Ingredient] = []
    unfit: dict[str, str] = {}
    for label in labels:
        tasks = plan.of(label)
        if not isinstance(tasks[0].params, NetParams):
            unfit[label] = f"it is no network (kind {tasks[0].kind})"
            continue
        folds = {task.fold: files for task in tasks if (files := _files(task, results, run, places)) is not None}
        if not folds:
            unfit[label] = "its weights are neither in the store nor in the run's bundle; start the job again"
        elif "loader" in json.loads(next(iter(folds.values()))[HEADER]):
            unfit[label] = "it was saved as ONNX, whose weights are not averaged"
        else:
            networks.append(Ingredient(label, tasks[0].params, _start(tasks[0], run), folds))
    most = set().union(*(network.folds for network in networks))
    for network in [one for one in networks if set(one.folds) != most]:
        unfit[network.label] = f"it has models of {len(network.folds)} of {len(most)} folds only"
        networks.remove(network)
    groups: list[list[Ingredient]] = []
    for network in networks:
        group = next((group for group in groups if why_not(group[0], network) is None), None)
        groups.append([network]) if group is None else group.append(network)
    largest = max(groups, key=len, default=[])
    refused = members is not None and len(largest) < len(labels)
    if len(largest) < 2 or refused:
        raise UserError("\n  ".join([_nothing_to_average(run, labels, named=refused), *_reasons(networks, unfit)]))
    others = {network.label: f"it has {why_not(largest[0], network)}" for network in networks if network not in largest}
    return Candidates(tuple(largest), unfit | others)


def why_not(one: Ingredient, other: Ingredient) -> str | None:
    """Why the weights of two networks cannot be averaged: what the second has other; None where they can."""
    a, b = one.params, other.params
    if identity_of(a.arch) != identity_of(b.arch):
        return f"another architecture ({_said(b.arch)}, not {_said(a.arch)})"
    for name in ("standardize", "size"):
        if getattr(a, name) != getattr(b, name):
            return f"another preprocessing ({name}: {getattr(b, name)}, not {getattr(a, name)})"
    if one.start != other.start:
        return "other starting weights"
    return None


def make_soup(
    run: Finished, candidates: Candidates, output: Path, *, watch: Watch = lambda fold, folds: None
) -> dict[str, Any]:
    """Average the candidates' weights fold by fold and write the bundle of the member `soup`; gives the figures.

    Each fold's choice is made on one seeded half of its validation rows; what stands for the soup's quality is from
    the other half, which also gives its temperature (cross-fitted for the estimate). Raises `UserError`.
    """
    data, test, chosen = run.context.train, run.context.test, candidates.chosen
    numbers = sorted(chosen[0].folds)
    soups = []
    for place, number in enumerate(numbers, 1):
        watch(place, len(numbers))
        soups.append(_soup_of_fold(run, chosen, number))
    rows = np.concatenate([soup.rows[soup.estimate] for soup in soups])
    y, raw = data.y[rows], np.concatenate([soup.proba[soup.estimate] for soup in soups]).astype(np.float64)
    temperature = fit_temperature(proba=raw, y=y)
    calibrated = crossfitted_temperature(raw, y, seed=derive_seed(run.job.spec.seed, NAME, "temperature"))
    tested = run.test is not None and test is not None
    on_test = np.mean([soup.model.predict_proba(test.x) for soup in soups], axis=0) if tested and test else None
    compared = list(_compared(run, chosen, soups, on_test))
    oof = _rounded(scores(calibrated, y))
    own_test = None
    if on_test is not None and test is not None:
        own_test = _rounded(scores(apply_temperature(proba=on_test, temperature=temperature), test.y))
    compared.append({"name": "soup, calibrated", "choice": None, "estimate": oof, "test": own_test})
    files = {soup.fold: files_of(cast(Member, soup.model)) for soup in soups}
    found = {
        "run": run.folder.name,
        "ingredients": [one.label for one in chosen],
        "left_out": dict(candidates.left_out),
        "rows": {"choice": sum(len(soup.choice) for soup in soups), "estimate": len(rows)},
        "folds": [_fold_json(soup, chosen, data.y[soup.rows]) for soup in soups],
        "compared": compared,
        "choice": _optimism(compared),
        "temperature": round(temperature, 6),
        "size": {"models": len(soups), "bytes": sum(len(blob) for each in files.values() for blob in each.values())},
        "notes": list(run.notes),
    }
    alone = Alone(
        name=NAME,
        folds=files,
        temperature=temperature,
        run=f"{run.folder.name}/{output.name}",
        oof=oof,
        test=own_test,
        row_losses=_mean_by_row(rows, row_nll(calibrated, y), len(data)),
    )
    with writing(output):
        pack_alone(output, run.job.spec, data, alone, {FIGURES: json.dumps(found, indent=1).encode()})
    return found


def _soup_of_fold(run: Finished, chosen: Sequence[Ingredient], number: int) -> FoldSoup:
    data, fold = run.context.train, run.context.folds[number]
    train, valid = data.take(fold.train), data.take(fold.valid)
    models = [cast(Net, member_of(one.folds[number])) for one in chosen]
    seed = derive_seed(run.job.spec.seed, NAME, number)
    choice, estimate = _halves(valid, seed, number)
    alone = [model.predict_proba(valid.x) for model in models]
    made: dict[tuple[int, ...], tuple[Net, Proba]] = {(i,): (models[i], alone[i]) for i in range(len(models))}

    def loss_of(taken: tuple[int, ...]) -> float:
        for refused in [key for key in made if len(key) > 1 and key != taken[:-1]]:
            del made[refused]  # networks may be large
        model = Net.average([models[i] for i in taken], train.x, seed=seed)
        made[taken] = model, model.predict_proba(valid.x)
        return nll(made[taken][1][choice], valid.y[choice])

    found = greedy_soup(losses=[nll(proba[choice], valid.y[choice]) for proba in alone], loss_of=loss_of)
    return FoldSoup(number, fold.valid, choice, estimate, found, *made[found.taken], alone)


def _halves(valid: Dataset, seed: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows to choose on, and to estimate on: by class, in whole groups, or by time."""
    try:
        if valid.time is not None:
            halves: tuple[Any, Any] = latest_rows(valid.time, 0.5)
        elif valid.groups is not None:
            halves = whole_groups(valid.y, valid.groups, 0.5, np.random.RandomState(seed % 2**32))
        else:
            halves = next(parts_of(valid.y, splits=2, seed=seed))
    except (FoldsError, ValueError) as error:
        raise UserError(
            f"the {len(valid)} validation rows of fold {number + 1} cannot be halved, one half to choose on and one to "
            f"estimate on: {error}"
        ) from None
    return halves


def _compared(
    run: Finished, chosen: Sequence[Ingredient], soups: Sequence[FoldSoup], on_test: Proba | None
) -> Iterator[dict[str, Any]]:
    """The best ingredient on the rows of the choice, the soup, and the plain average of all ingredients."""
    y = run.context.train.y
    halves = {
        half: [(soup, getattr(soup, half)) for soup in soups] for half in ("choice", "estimate")
    }  # fold and positions

    def figures(proba_of: Callable[[FoldSoup], Proba], half: str) -> dict[str, float]:
        proba = np.concatenate([proba_of(soup)[rows] for soup, rows in halves[half]])
        return _rounded(scores(proba, np.concatenate([y[soup.rows[rows]] for soup, rows in halves[half]])))

    def row(name: str, proba_of: Callable[[FoldSoup], Proba], test: Proba | None) -> dict[str, Any]:
        truth = run.context.test
        own = _rounded(scores(test, truth.y)) if test is not None and truth is not None else None
        return {"name": name, **{half: figures(proba_of, half) for half in halves}, "test": own}

    places = [run.members.index(one.label) for one in chosen]
    tests = [run.test.proba[place] for place in places] if run.test is not None else None
    singles = [
        row(one.label, lambda soup, i=i: soup.ingredients[i], None if tests is None else tests[i])  # type: ignore[misc]
        for i, one in enumerate(chosen)
    ]
    best = min(singles, key=lambda single: float(single["choice"]["nll"]))
    yield best | {"what": "best alone"}
    yield row(NAME, lambda soup: soup.proba, on_test)
    together = None if tests is None else np.mean(tests, axis=0)
    name = f"ensemble of the {len(chosen)}"
    yield row(name, lambda soup: np.mean(soup.ingredients, axis=0), together)


def _optimism(compared: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the soup gains over the best ingredient, in nats, on the rows of the choice and on the others."""
    best, soup = compared[:2]
    gains = {half: best[half]["nll"] - soup[half]["nll"] for half in ("choice", "estimate")}
    return _rounded({f"gain_on_{half}": gain for half, gain in gains.items()}) | {
        "optimism": round(gains["choice"] - gains["estimate"], 6)
    }


def _fold_json(soup: FoldSoup, chosen: Sequence[Ingredient], y: NDArray[np.int64]) -> dict[str, Any]:
    def loss(proba: Proba, half: NDArray[np.int64]) -> float:
        return round(nll(proba[half], y[half]), 6)

    best, found = soup.ingredients[soup.found.order[0]], soup.found
    return {
        "fold": soup.fold + 1,
        "tried": [chosen[i].label for i in found.order],
        "taken": [chosen[i].label for i in found.taken],
        "best": {"choice": loss(best, soup.choice), "estimate": loss(best, soup.estimate)},
        "soup": {"choice": loss(soup.proba, soup.choice), "estimate": loss(soup.proba, soup.estimate)},
    }


def _mean_by_row(rows: Rows, losses: Floats, total: int) -> Floats:
    """The losses at their rows (N,), averaged where repeats estimate a row twice; NaN elsewhere."""
    times = np.bincount(rows, minlength=total)
    sums = np.bincount(rows, weights=losses, minlength=total)
    spread: Floats = np.where(times > 0, sums / np.maximum(times, 1), np.nan)
    return spread


def _named(plan: Plan, members: Sequence[str]) -> list[str]:
    """The members of those names; the name of a job's member stands for its copies and views."""
    found: dict[str, None] = {}
    for name in members:
        own = [name] if name in plan.labels else list(dict.fromkeys(t.label for t in plan.tasks if t.member == name))
        if not own:
            known = list(plan.labels)
            raise UserError(
                f"--members {name}: the run has no such member{did_you_mean(name, known)} (its members: "
                f"{', '.join(known)})"
            )
        found |= dict.fromkeys(own)
    return list(found)


def _places(run: Finished) -> frozenset[str]:
    return frozenset(place for entry in read_manifest(run.folder.bundle)["members"] for place in entry["folds"])


def _files(task: FitTask, results: Results, run: Finished, places: frozenset[str]) -> Files | None:
    """The files of a fold's model, from the store or else from the bundle."""
    if (fit := results.find(task)) is not None:
        return results.files(fit)
    place = f"members/{task.label}/{task.fold}"
    if place not in places:
        return None
    folder = run.folder.bundle / place
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _start(task: FitTask, run: Finished) -> str:
    """What the weights began as: a file's content, the hub's, or those of the run that gives the network."""
    params = task.params
    assert isinstance(params, NetParams)
    if params.weights is None or params.pretrain is not None:
        return f"run {task.member} {task.copy}"
    if params.weights == "hub":
        return "hub"
    return hashlib.sha256(run.context.assets[str(params.weights)]).hexdigest()


def _nothing_to_average(run: Finished, labels: Sequence[str], *, named: bool) -> str:
    if named:
        return f"the weights of {', '.join(labels)} cannot all be averaged; leave some out of --members:"
    return (
        f"the run {run.folder.name} has no two networks whose weights can be averaged; members that start from the "
        "same `weights`, or views of one (ema, swa, snapshots), can:"
    )


def _reasons(networks: Sequence[Ingredient], unfit: Mapping[str, str]) -> list[str]:
    reasons = [f"{label}: {reason}" for label, reason in unfit.items()]
    for one, other in combinations(networks, 2):
        if (reason := why_not(one, other)) is not None:
            reasons.append(f"{one.label} and {other.label}: {other.label} has {reason}")
    more = len(reasons) - MOST_REASONS
    return [*reasons[:MOST_REASONS], *([f"and {more} more pairs"] if more > 0 else [])]


def _said(arch: Any) -> str:
    chosen = {key: value for key, value in identity_of(arch).items() if key != "kind"}
    with_ = f" with {', '.join(f'{key}: {value}' for key, value in chosen.items())}" if chosen else ""
    return f"{arch.kind}{with_}"


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}
