"""Search over folds: how many fits does stopping bad trials save, and what does it cost?

Fixed before the first run:

- The jobs are `pipelines/search/vehicle_boosting.yaml` and `dna_boosting.yaml`: LightGBM in its own space, five folds,
  32 trials by TPE, without the portfolio. The scheduler is `none`, `asha` (after 1 and 2 folds) or `wilcoxon` (after 2,
  3 and 4 folds), over folds.
- Five seeds, which change the folds, the fits and the choices of TPE.
- The figures are the number of fits; the log-loss of the best complete trial on the out-of-fold rows; the same on rows
  that did not choose it (cross-fitted); and that of its five models together on the test rows. Differences from `none`
  are paired by the seed, with 95 % intervals (Student's t over the seeds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tests.benchmarks.search.runs import PIPELINES, Kept
from tests.benchmarks.search.statistics import difference

from quorate.runs.search_record import SearchRecord

MEMBER = "boosting"
SEEDS = (0, 1, 2, 3, 4)
TABLES = ("vehicle", "dna")
SCHEDULERS = ("none", "asha", "wilcoxon")


def name_of(table: str, scheduler: str, seed: int) -> str:
    return f"folds-{table}-{scheduler}-{seed}"


def run(kept: Kept, seeds: Sequence[int]) -> None:
    """Run the searches, and predict the test rows with their best trials."""
    for seed in seeds:
        for table in TABLES:
            for scheduler in SCHEDULERS:
                name = name_of(table, scheduler, seed)
                settings = (f"seed={seed}", f"members.{MEMBER}.search.scheduler={scheduler}")
                kept.search(name, PIPELINES / f"{table}_boosting.yaml", MEMBER, *settings)
                kept.train(name, kept.emitted(name))


def show(kept: Kept, seeds: Sequence[int]) -> Iterator[str]:
    """The table, from what is kept."""
    yield "| table | scheduler | fits | OOF NLL | less none | honest NLL | less none | test NLL | less none |"
    yield f"|{'---|' * 9}"
    figures: Sequence[Callable[[SearchRecord, Mapping[str, Any]], float]] = (_loss, _honest, _tested)
    for table in TABLES:
        plain: list[list[float]] = []
        for scheduler in SCHEDULERS:
            names = [name_of(table, scheduler, seed) for seed in seeds]
            found = [(kept.record(name), kept.board(name)) for name in names]
            fits = np.mean([sum(trial.folds for trial in record.trials) for record, _ in found])
            values = [[figure(record, board) for record, board in found] for figure in figures]
            plain = plain or values
            cells = [f"{fits:.1f}"]
            for own, others in zip(values, plain, strict=True):
                cells += [f"{np.mean(own):.4f}", difference(own, others) if scheduler != "none" else ""]
            yield f"| {table} | {scheduler} | {' | '.join(cells)} |"


def _loss(record: SearchRecord, board: Mapping[str, Any]) -> float:
    found = record.choices[0].loss
    assert found is not None
    return found


def _honest(record: SearchRecord, board: Mapping[str, Any]) -> float:
    found = record.choices[0].honest_loss
    assert found is not None
    return found


def _tested(record: SearchRecord, board: Mapping[str, Any]) -> float:
    return float(board["members"][0]["test"]["nll"])
