"""The figures of the measurements of search are those of the kept results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.benchmarks.search import ensembles, folds, kinds, methods
from tests.benchmarks.search.runs import Kept

from quorate.runs.search_record import ChoiceRecord, SearchRecord, TrialRecord

COST = {"64": 2.0, "128": 1.0, "256": 0.5}


def trial(number: int, loss: float | None, epochs: int = 8, batch: int = 64, **values: Any) -> TrialRecord:
    given = {"source": "random", "state": "complete" if epochs == 8 and loss is not None else "stopped", "folds": 1}
    member = {"kind": "net", "batch_size": batch}
    named = {"number": number, "name": f"cnn-{number}", "values": {}, "member": member}
    return TrialRecord(**{**given, **named, "epochs": epochs, "loss": loss, **values})


def search(trials: Sequence[TrialRecord], honest: float | None = None) -> SearchRecord:
    best = min((one for one in trials if one.state == "complete"), key=lambda one: one.loss or 0.0)
    choice = ChoiceRecord(rule="best", trials=(best.name,), weights=(1.0,), loss=best.loss, honest_loss=honest)
    return SearchRecord(
        run="run",
        job="job",
        member="cnn",
        kind="net",
        settings={},
        parameters=(),
        metric="nll",
        folds=1,
        steps=((1, 1.0),),
        seconds=1,
        ended="all",
        trials=tuple(trials),
        choices=(choice,),
    )


class Written:
    """A folder of kept results that were written by hand."""

    def __init__(self, folder: Path) -> None:
        self.kept = Kept(folder)

    def add(self, name: str, found: SearchRecord, accuracy: float = 0.5, nll: float = 1.0) -> None:
        (self.kept.folder / f"{name}.search.json").write_text(found.to_text())
        self.board(name, {"test": {"accuracy": accuracy, "nll": nll}})

    def board(self, name: str, *members: dict[str, Any]) -> None:
        (self.kept.folder / f"{name}.board.json").write_text(json.dumps({"run": name, "members": members}))


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_two_workers_take_the_trials_in_their_order_and_a_stopped_one_is_never_the_best() -> None:
    # given: trials of 16, 8, 6 and 4 seconds
    found = search([trial(1, 0.9), trial(2, 0.7, batch=128), trial(3, 0.1, epochs=3), trial(4, 0.5, batch=256)])

    # then
    assert methods.ends(found, COST).tolist() == [16, 8, 14, 18]
    assert methods.best_so_far(found).tolist() == [0.9, 0.7, 0.7, 0.5]
    at = methods.best_at(found, COST, np.array([7.0, 8.0, 17.0, 18.0]))
    assert np.isnan(at[0]) and at[1:].tolist() == [0.7, 0.7, 0.5]


def test_experiments_are_the_groups_of_random_trials() -> None:
    losses = [0.9, 0.7, 0.8, 0.5, None]
    found = [search([trial(number, loss) for number, loss in enumerate(losses)])]

    assert methods.experiments(found, 2) == [0.7, 0.5]
    assert methods.experiments(found, 1)[:4] == losses[:4]


def test_methods_shows_a_line_per_method_and_two_plots(written: Written) -> None:
    # given: each method is a tenth better than the one before, with every seed
    (written.kept.folder / "cost.json").write_text(json.dumps(COST))
    for seed in (0, 1):
        for number, method in enumerate(methods.METHODS):
            losses = [2.0 - 0.01 * place - 0.1 * number + 0.3 * seed for place in range(methods.TRIALS)]
            found = search([trial(place, loss) for place, loss in enumerate(losses)])
            written.add(methods.name_of(method, seed), found)

    # when
    lines = list(methods.show(written.kept, (0, 1)))

    # then: 24 trials of 16 seconds on two workers
    (sobol,) = [line for line in lines if line.startswith("| sobol ")]
    assert "| 192 | 192 |" in sobol and "| -0.1000 [-0.1000, -0.1000] |" in sobol
    assert {path.name for path in written.kept.folder.glob("*.png")} == {
        "search-methods.png",
        "search-efficiency.png",
    }


def test_folds_shows_the_fits_and_the_paired_differences(written: Written) -> None:
    for table in folds.TABLES:
        for seed in (0, 1):
            for scheduler, least, number in (("none", 0.5, 5), ("asha", 0.6, 2), ("wilcoxon", 0.5, 4)):
                found = search([trial(1, least + seed), trial(2, 2.0, folds=number)], honest=least + seed)
                written.add(folds.name_of(table, scheduler, seed), found, nll=least + seed)

    lines = list(folds.show(written.kept, (0, 1)))

    assert "| vehicle | none | 6.0 | 1.0000 |  | 1.0000 |  | 1.0000 |  |" in lines
    difference = "+0.1000 [+0.1000, +0.1000]"
    assert f"| vehicle | asha | 3.0 | {' | '.join(['1.1000', difference] * 3)} |" in lines


def test_kinds_says_whether_the_search_improves_the_member_as_written(written: Written) -> None:
    for data in kinds.DATA:
        for kind in kinds.kinds_of(data):
            first = trial(1, 0.5, source="written")
            found = {
                "svm": search([first, trial(2, 0.6)], honest=0.5),
                "knn": search([first, trial(2, 0.4)], honest=0.52),
            }
            written.add(kinds.name_of(data, kind, 0), found.get(kind, search([first, trial(2, 0.4)], honest=0.41)))

    lines = list(kinds.show(written.kept, (0,)))

    assert "| digits | svm | 0.5000 | 0.5000 | written | 0.5000 | +0.0000 | equal |" in lines
    assert "| digits | knn | 0.5000 | 0.4000 | random | 0.5200 | +0.0200 | not improved |" in lines
    assert "| digits | logistic | 0.5000 | 0.4000 | random | 0.4100 | -0.0900 | improved |" in lines


def test_ensembles_shows_the_figures_of_the_test_rows(written: Written) -> None:
    # given: predictions of 30 test rows, those of the trials better than the others
    rng, y = np.random.default_rng(0), np.arange(30) % 3
    proba = {}
    for way, sharpness in (("trials", 2.0), ("best", 1.0), ("copies", 1.5)):
        logits = rng.normal(size=(30, 3)) + sharpness * np.eye(3)[y]
        proba[way] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for data in ensembles.JOBS:
            name = ensembles.name_of(data, way, 0)
            written.board(name, {"weight": 1.0}, {"weight": 0.0})
            folder = written.kept.run_folder(name)
            folder.mkdir(parents=True)
            np.savez(folder / "test.npz", ensemble=proba[way], y=y)

    # when
    lines = list(ensembles.show(written.kept, (0,)))

    # then
    losses = {way: log_loss(y, found) for way, found in proba.items()}
    right = {way: np.mean(found.argmax(axis=1) == y) for way, found in proba.items()}
    (copies,) = [line for line in lines if line.startswith("| dna | copies |")]
    assert copies.startswith(f"| dna | copies | 1 | {right['copies']:.4f} | {losses['copies']:.4f} |")
    (less,) = [line for line in lines if line.startswith("| dna | trials less best |")]
    assert f"{losses['trials'] - losses['best']:+.4f} [" in less
