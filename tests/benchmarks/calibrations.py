"""Calibrations of finished runs: is a matrix better than a temperature beyond noise?

`python -m tests.benchmarks.calibrations RUN...` reads the out-of-fold predictions of each run folder. For each pair of
calibrations, of the members and of their mean, it prints the cross-fitted log-loss of `calibrated_greedy` less that
with temperatures only, with its 95 % interval over the rows. A benchmark of small data (`small_data`) wrote files that
are read too. At the end it prints, for each pair, the mean over the runs of the logarithm of the ratio of the two
losses, with its 95 % interval (Student's t). A pair becomes the default if this interval is below 0, and no run has an
interval of its difference above 0: a rule that was written after the first results of matrix and vector on tables.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from tests.benchmarks.small_data import interval

from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted, parts_of
from quorate.ensemble.metrics import nll, row_nll
from quorate.ensemble.paired import Z, paired_difference
from quorate.registry import COMBINERS

PAIRS = (
    ("temperature", "matrix"),
    ("matrix", "temperature"),
    ("temperature", "vector"),
    ("temperature", "auto"),  # added after the results of the other three
)
"""Calibrations of the members and of their mean."""


def compare(run: Path) -> list[float]:
    """Print the comparisons of a run; return the logarithm of each pair's loss relative to that with temperatures."""
    file = run if run.suffix == ".npz" else run / "oof.npz"
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    proba = found["proba"] if "proba" in found else found["oof"]
    rows = found["mask"].all(axis=0) if "mask" in found else np.ones(len(found["y"]), bool)
    proba, y = proba[:, rows], found["y"][rows]
    parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=0))
    kind = COMBINERS.get("calibrated_greedy")
    plain, ratios = None, []
    for calibration, final in (("temperature", "temperature"), *PAIRS):
        began = time.perf_counter()
        combiner = kind(kind.Params.model_validate({"calibration": calibration, "final": final}))
        estimate = crossfitted(combiner.fit_dependent, proba=proba, y=y, parts=parts, seed=0)
        losses = row_nll(estimate, y)
        plain = losses if plain is None else plain
        gap = paired_difference(losses, plain)
        half = Z * gap.standard_error
        ratios.append(float(np.log(losses.mean() / plain.mean())))
        print(
            f"| {file.parent.name}/{file.name} | {proba.shape} | {calibration}, {final} | {nll(estimate, y):.4f} | "
            f"{gap.mean:+.4f} [{gap.mean - half:+.4f}, {gap.mean + half:+.4f}] | "
            f"{time.perf_counter() - began:.0f} s |",
            flush=True,
        )
    return ratios[1:]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("runs", type=Path, nargs="+")
    ratios = [compare(run) for run in asked.parse_args().runs]
    if len(ratios) > 1:
        for (calibration, final), found in zip(PAIRS, zip(*ratios, strict=True), strict=True):
            print(f"mean logarithm of the ratio, {calibration}, {final}: {interval(found)}")


if __name__ == "__main__":
    main()
