"""Does `search: {trials: 16}` alone improve a member of every kind?

Fixed before the first run:

- The jobs are `pipelines/search/kinds_digits.yaml` (three folds) and `kinds_vehicle.yaml` (five folds), with one member
  of each kind as it is without parameters. Networks have 5 epochs on the digits and 10 on the table, boosted trees
  their defaults. One seed.
- Each member is searched with 16 trials and the defaults of a search: TPE, the space of the kind, the portfolio first.
- The figures are out-of-fold log-losses: of the member as written, which is the first trial; of the best trial; and of
  the choice on rows that did not choose (cross-fitted), with its difference from the member as written.
- A kind counts as `improved` if the cross-fitted loss is below that of the member as written, as `equal` if the member
  as written is the best trial, and as `not improved` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.benchmarks.search.runs import PIPELINES, Kept

from quorate.runs.search_record import SearchRecord
from quorate.spec.file import read

SEEDS = (0,)
DATA = ("digits", "vehicle")
TRIALS = 16


def name_of(data: str, kind: str, seed: int) -> str:
    return f"kinds-{data}-{kind}-{seed}"


def kinds_of(data: str) -> list[str]:
    return list(read(PIPELINES / f"kinds_{data}.yaml", []).tree["members"])


def run(kept: Kept, seeds: Sequence[int]) -> None:
    """Run the searches."""
    for seed in seeds:
        for data in DATA:
            for kind in kinds_of(data):
                settings = (f"seed={seed}", f"members.{kind}.search.trials={TRIALS}")
                kept.search(name_of(data, kind, seed), PIPELINES / f"kinds_{data}.yaml", kind, *settings)


def show(kept: Kept, seeds: Sequence[int]) -> Iterator[str]:
    """The table, from what is kept."""
    yield "| data | kind | as written | best trial | source | honest | less as written | result |"
    yield f"|{'---|' * 8}"
    for seed in seeds:
        for data in DATA:
            for kind in kinds_of(data):
                yield f"| {data} | {kind} | {' | '.join(_cells(kept.record(name_of(data, kind, seed))))} |"


def _cells(record: SearchRecord) -> list[str]:
    written, best, choice = record.trials[0], record.best, record.choices[0]
    assert written.source == "written" and written.loss is not None and best is not None
    assert choice.loss is not None and choice.honest_loss is not None
    gain = choice.honest_loss - written.loss
    result = "equal" if best.name == written.name else "improved" if gain < 0 else "not improved"
    return [
        f"{written.loss:.4f}",
        f"{choice.loss:.4f}",
        best.source,
        f"{choice.honest_loss:.4f}",
        f"{gain:+.4f}",
        result,
    ]
