"""Measure hyperparameter search: `python -m tests.benchmarks.search WHAT --keep FOLDER`.

The searches are kept in FOLDER with the store that they share, so that the command can be ended and started again, and
with --show prints its tables from the results of the chosen --seeds. `cost` measures what an epoch costs, for the
seconds of `methods`; it needs a quiet machine, and the others do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks.search import ensembles, folds, kinds, methods
from tests.benchmarks.search.runs import Kept

PARTS = {"methods": methods, "ensembles": ensembles, "folds": folds, "kinds": kinds}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=[*PARTS, "cost"])
    asked.add_argument("--keep", type=Path, required=True, help="a folder for the results")
    asked.add_argument("--seeds", type=int, nargs="+", help="by default those of the measurement")
    asked.add_argument("--show", action="store_true", help="run nothing")
    asked.add_argument("--set", action="append", default=[], dest="settings", help="KEY=VALUE for every job")
    given = asked.parse_args()
    kept = Kept(given.keep.absolute(), tuple(given.settings))
    if given.what == "cost":
        methods.measure(kept.folder / "cost.json")
        return
    part = PARTS[given.what]
    seeds = given.seeds or part.SEEDS
    if not given.show:
        part.run(kept, seeds)
    for line in part.show(kept, seeds):
        print(line)


if __name__ == "__main__":
    main()
