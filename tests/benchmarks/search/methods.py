"""Grid, random, Sobol, TPE and TPE with ASHA: which finds a good network in how many trials and seconds?

Fixed before the first run:

- The job is `pipelines/search/fashion.yaml`: Fashion-MNIST, 8,000 of the first 10,000 rows for training and 2,000 for
  validation, `small_cnn` of width 16, 24 trials of at most 8 epochs, and one space for all methods. The grid has 24
  points in this space (`fashion_grid.yaml`). No trial comes from the portfolio.
- Five seeds. The seed of the job changes the validation rows, the networks and the choices of the method. So the grid
  also has five results, of the same points in another order.
- ASHA compares trials after 1 and 3 epochs, with a reduction of 3.
- `parallel` is 4 for all.
- The figure is the validation log-loss of the best complete trial so far. Intervals are 95 % (Student's t over the
  seeds); comparisons with `random` are paired by the seed.
- Seconds are not those of the clock, because other programs may run at the same time: the epochs of the trials by their
  cost on one core (`cost`), on the schedule of two workers that take the trials in their order.
- The networks of the best trials predict the 10,000 test rows, without a new training.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.search.runs import PIPELINES, Kept

MEMBER = "cnn"
SEEDS = (0, 1, 2, 3, 4)
METHODS = {
    "grid": ("fashion_grid", ("grid", "none")),
    "random": ("fashion", ("random", "none")),
    "sobol": ("fashion", ("sobol", "none")),
    "tpe": ("fashion", ("tpe", "none")),
    "tpe + asha": ("fashion", ("tpe", "asha")),
}
"""The job file, the method and the scheduler of each."""


def name_of(method: str, seed: int) -> str:
    return f"methods-{method.replace(' + ', '-')}-{seed}"


def run(kept: Kept, seeds: Sequence[int] = SEEDS) -> None:
    """Run what has not been run, the searches and the predictions of the test rows."""
    for seed in seeds:
        for method, (job, (suggester, scheduler)) in METHODS.items():
            name, place = name_of(method, seed), f"members.{MEMBER}.search"
            settings = (f"seed={seed}", f"{place}.method={suggester}", f"{place}.scheduler={scheduler}")
            kept.search(name, PIPELINES / f"{job}.yaml", MEMBER, *settings)
            kept.train(name, kept.emitted(name))
