"""Run seeded schedules and print a line for each, then a table: `make chaos SCHEDULES=50 SEED=1`.

Ends with exit code 1 if a job did not end with the bits of the undisturbed one. `SCHEDULES=1 SEED=N` replays the
schedule of one seed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

from tests.chaos.campaign import outcomes
from tests.chaos.injector import Outcome
from tests.chaos.jobs import JOB, JOB_SECONDS, SHORT_JOB, SHORT_JOB_SECONDS
from tests.chaos.table import summary


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first schedule; the next ones follow it")
    parser.add_argument("--short", action="store_true", help="a job of seconds and the faults that cost no time")
    parser.add_argument("--minutes", type=float, help="begin no further schedule after this time")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table for docs/reliability.md to this file")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the hosts are removed
    job, seconds = (SHORT_JOB, SHORT_JOB_SECONDS) if chosen.short else (JOB, JOB_SECONDS)
    seeds = range(chosen.seed, chosen.seed + chosen.schedules)
    found: list[Outcome] = []
    begun = time.monotonic()
    for outcome in outcomes(job, seeds, seconds=seconds, short=chosen.short):
        print(outcome, flush=True)
        found.append(outcome)
        if chosen.minutes is not None and time.monotonic() - begun > 60 * chosen.minutes:
            break
    result = summary(found)
    print(f"\n{result.to_markdown()}")
    if chosen.json:
        chosen.json.write_text(result.to_json())
    if chosen.markdown:
        chosen.markdown.write_text(result.to_markdown())
    return 1 if result.failed_seeds else 0


if __name__ == "__main__":
    sys.exit(main())
