"""`python -m tests.benchmarks.search WHAT --keep FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks.search import methods
from tests.benchmarks.search.runs import Kept


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("what", choices=["methods"])
    asked.add_argument("--keep", type=Path, required=True)
    asked.add_argument("--seeds", type=int, nargs="+", default=list(methods.SEEDS))
    asked.add_argument("--set", action="append", default=[], dest="settings")
    given = asked.parse_args()
    methods.run(Kept(given.keep.absolute(), tuple(given.settings)), given.seeds)


if __name__ == "__main__":
    main()
