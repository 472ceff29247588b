"""Average the weights of a finished run's networks fold by fold (a model soup), and write the bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.compress.fold_soup import NAME, FoldSoup, Watch, choose_soups
from quorate.compress.soup_candidates import SoupCandidate, SoupCandidates
from quorate.data.dataset import Rows
from quorate.ensemble.arrays import Floats, Proba
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted_temperature, parts_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.metrics import nll, rounded, row_nll, scores
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.job.bundle_files import SingleNetwork, pack_alone, unseen_file
from quorate.job.fits import FitRunner
from quorate.json_text import json_text
from quorate.plan.identity import derive_seed
from quorate.runs.finished import FinishedRun
from quorate.scoring.output import writing

FIGURES = "soup.json"


def make_soup(
    run: FinishedRun,
    candidates: SoupCandidates,
    output: Path,
    runner: FitRunner,
    *,
    watch: Watch = lambda done, folds: None,
) -> dict[str, Any]:
    """Average the candidates' weights fold by fold and write the bundle of the member `soup`; returns the metrics.

    In each fold, the networks are chosen on a seeded random half of its validation rows. The other half is used to
    estimate the soup and to fit its temperature, which is cross-fitted for the estimate. Raises `UserError`.
    """
    data, test, chosen = run.context.train, run.context.test, candidates.chosen
    soups = choose_soups(run, chosen, runner, watch)
    rows = np.concatenate([soup.rows[soup.estimate] for soup in soups])
    y, raw = data.y[rows], np.concatenate([soup.proba[soup.estimate] for soup in soups]).astype(np.float64)
    temperature = fit_temperature(proba=raw, y=y)
    seed = derive_seed(run.job.spec.seed, NAME, "temperature")
    dependence = Dependence(data.groups, data.time).take(rows)
    calibrated = crossfitted_temperature(
        raw, y, list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
    )
    own_tests = [soup.test for soup in soups if soup.test is not None]
    on_test = np.mean(own_tests, axis=0) if own_tests else None
    compared = list(_compared(run, chosen, soups, on_test))
    oof = rounded(scores(calibrated, y))
    own_test = None
    if on_test is not None and test is not None:
        own_test = rounded(scores(apply_temperature(proba=on_test, temperature=temperature), test.y))
    compared.append({"name": "soup, calibrated", "choice": None, "estimate": oof, "test": own_test})
    files = {soup.fold: soup.files for soup in soups}
    found = {
        "run": run.folder.name,
        "members": [one.label for one in chosen],
        "left_out": dict(candidates.left_out),
        "rows": {"choice": sum(len(soup.choice) for soup in soups), "estimate": len(rows)},
        "folds": [_fold_json(soup, chosen, data.y[soup.rows]) for soup in soups],
        "compared": compared,
        "choice": _optimism(compared),
        "temperature": round(temperature, 6),
        "size": {"models": len(soups), "bytes": sum(len(blob) for each in files.values() for blob in each.values())},
        "notes": [*run.notes, *_borrowed(run)],
    }
    alone = SingleNetwork(
        name=NAME,
        folds=files,
        temperature=temperature,
        run=f"{run.folder.name}/{output.name}",
        oof=oof,
        test=own_test,
        row_losses=_mean_by_row(rows, row_nll(calibrated, y), len(data)),
        unseen=unseen_file(calibrated, np.ones(len(y), dtype=bool), y),
    )
    with writing(output):
        pack_alone(output, run.job.spec, data, alone, {FIGURES: json_text(found).encode()})
    return found


def _borrowed(run: FinishedRun) -> Iterator[str]:
    """A note if the members' test metrics are those of models that differ from the averaged ones."""
    if run.test is not None and (production := run.board.ensemble.production):
        yield (
            "the soup uses all fold models, but the test metrics of the members and of their ensemble come from the "
            f"models in the run's bundle: {production}"
        )


def _compared(
    run: FinishedRun, chosen: Sequence[SoupCandidate], soups: Sequence[FoldSoup], on_test: Proba | None
) -> Iterator[dict[str, Any]]:
    """Metrics of the member that is best on the `choice` rows, of the soup, and of the average of all candidates'
    predictions."""
    y = run.context.train.y
    halves = {
        half: [(soup, getattr(soup, half)) for soup in soups] for half in ("choice", "estimate")
    }  # fold and positions

    def figures(proba_of: Callable[[FoldSoup], Proba], half: str) -> dict[str, float]:
        proba = np.concatenate([proba_of(soup)[rows] for soup, rows in halves[half]])
        return rounded(scores(proba, np.concatenate([y[soup.rows[rows]] for soup, rows in halves[half]])))

    def row(name: str, proba_of: Callable[[FoldSoup], Proba], test: Proba | None) -> dict[str, Any]:
        truth = run.context.test
        own = rounded(scores(test, truth.y)) if test is not None and truth is not None else None
        return {"name": name, **{half: figures(proba_of, half) for half in halves}, "test": own}

    places = [run.members.index(one.label) for one in chosen]
    tests = [run.test.proba[place] if run.test is not None and run.test.tested[place] else None for place in places]
    singles = [
        row(one.label, lambda soup, i=i: soup.members[i], tests[i])  # type: ignore[misc]
        for i, one in enumerate(chosen)
    ]
    best = min(singles, key=lambda single: float(single["choice"]["nll"]))
    yield best | {"what": "best alone"}
    yield row(NAME, lambda soup: soup.proba, on_test)
    known = [test for test in tests if test is not None]
    together = np.mean(known, axis=0) if len(known) == len(tests) else None
    name = f"ensemble of the {len(chosen)}"
    yield row(name, lambda soup: np.mean(soup.members, axis=0), together)


def _optimism(compared: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The gain of the soup over the best member, in nats, on the `choice` rows and on the `estimate` rows."""
    best, soup = compared[:2]
    gains = {half: best[half]["nll"] - soup[half]["nll"] for half in ("choice", "estimate")}
    return rounded({f"gain_on_{half}": gain for half, gain in gains.items()}) | {
        "optimism": round(gains["choice"] - gains["estimate"], 6)
    }


def _fold_json(soup: FoldSoup, chosen: Sequence[SoupCandidate], y: NDArray[np.int64]) -> dict[str, Any]:
    def loss(proba: Proba, half: NDArray[np.int64]) -> float:
        return round(nll(proba[half], y[half]), 6)

    best, found = soup.members[soup.found.order[0]], soup.found
    return {
        "fold": soup.fold + 1,
        "tried": [chosen[i].label for i in found.order],
        "taken": [chosen[i].label for i in found.taken],
        "best": {"choice": loss(best, soup.choice), "estimate": loss(best, soup.estimate)},
        "soup": {"choice": loss(soup.proba, soup.choice), "estimate": loss(soup.proba, soup.estimate)},
    }


def _mean_by_row(rows: Rows, losses: Floats, total: int) -> Floats:
    """The loss of each row (N,), averaged over the repeats that estimate the row; NaN for rows without an estimate."""
    times = np.bincount(rows, minlength=total)
    sums = np.bincount(rows, weights=losses, minlength=total)
    spread: Floats = np.where(times > 0, sums / np.maximum(times, 1), np.nan)
    return spread
