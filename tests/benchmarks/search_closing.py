"""How long a search takes after its last trial: `python -m tests.benchmarks.search_closing`.

Times the choice of the best trial, the choice of an ensemble, and the report, for synthetic trials, in seconds of CPU.
The constants of `quorate.search.closing` come from here.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from tests.report.searched import data_of, searched

from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.trial_choice import best_trial, evaluated, greedy_trials, top_trials
from quorate.registry import COMBINERS
from quorate.report.page.rendering import write_page
from quorate.report.search_page.page import search_page

SIZES = (
    (32, 1_000, 10),
    (32, 4_000, 10),
    (32, 4_000, 2),
    (24, 10_000, 10),
    (32, 1_000, 100),
    (128, 1_000, 10),
    (128, 4_000, 10),
    (400, 1_000, 10),
)
"""Trials, rows and classes."""


def main() -> None:
    combiner = combiner_of(COMBINERS.get("calibrated_greedy").Params(kind="calibrated_greedy"))
    rules = {
        "best": [best_trial("nll")],
        "ensemble": [greedy_trials(5, "nll", combiner), top_trials(5, "nll", combiner)],
    }
    for trials, rows, classes in ((4, 200, 3), *SIZES):  # the first one imports modules
        y = np.arange(rows) % classes
        logits = np.random.default_rng(0).normal(size=(trials, rows, classes))
        logits[:, np.arange(rows), y] += 2.5  # an accuracy of about 0.8, as for typical trials
        proba = np.exp(logits)
        proba = (proba / proba.sum(axis=2, keepdims=True)).astype(np.float32)
        shown = [f"{trials} trials x {rows:,} rows x {classes} classes"]
        for name, each in rules.items():
            begun = time.process_time()
            for rule in each:
                evaluated(rule, proba=proba, y=y, objective="nll", seed=0)
            seconds = time.process_time() - begun
            shown.append(f"{name} {seconds:.2f} s, {1e6 * seconds / proba.size:.3f} s per million")
        print("; ".join(shown), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for trials in (16, 64, 256, 1024):
            begun = time.process_time()
            write_page(Path(folder) / "report.html", search_page(data_of(searched(trials=trials))))
            print(f"report of {trials} trials: {time.process_time() - begun:.2f} s", flush=True)


if __name__ == "__main__":
    main()
