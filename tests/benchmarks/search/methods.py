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
  cost on one core, on the schedule of two workers that take the trials in their order.
- The networks of the best trials predict the 10,000 test rows, without a new training.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tests.benchmarks.known_data import training_rows
from tests.benchmarks.search.runs import PIPELINES, Kept
from tests.benchmarks.search.statistics import difference, half_width, mean
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.members.net import Net
from quorate.runs.search_record import SearchRecord
from quorate.spec import load_job

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
TRIALS = 24
SHOWN = (6, 12, 24)
"""Numbers of trials in the table."""
AT = 50.0
"""Seconds in the table: about the time in which ASHA ends."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 24)
"""Numbers of random trials of one experiment."""
BATCHES = (64, 128, 256)
WORKERS = 2
REPEATS = 3
_TRAINING_ROWS = 8000

Floats = NDArray[np.float64]


def name_of(method: str, seed: int) -> str:
    return f"methods-{method.replace(' + ', '-')}-{seed}"


def run(kept: Kept, seeds: Sequence[int]) -> None:
    """Run the searches, and predict the test rows with their best trials."""
    for seed in seeds:
        for method, (job, (suggester, scheduler)) in METHODS.items():
            name, place = name_of(method, seed), f"members.{MEMBER}.search"
            settings = (f"seed={seed}", f"{place}.method={suggester}", f"{place}.scheduler={scheduler}")
            kept.search(name, PIPELINES / f"{job}.yaml", MEMBER, *settings)
            kept.train(name, kept.emitted(name))


def measure(file: Path) -> None:
    """Write the seconds of one core for an epoch, by the batch size: the least of some repeats on a quiet machine."""
    torch.set_num_threads(1)
    rows = training_rows("fashion", _TRAINING_ROWS)
    valid = rows.take(np.arange(_TRAINING_ROWS // 4))
    written = load_job(PIPELINES / "fashion.yaml").spec.members[MEMBER]
    cost = {}
    for batch in BATCHES:
        params = written.model_copy(update={"batch_size": batch, "epochs": 1})
        numerics = Net.numerics(params, signature=rows.signature, rows=len(rows), hardware=LAPTOP)
        seconds = []
        for _ in range(REPEATS):
            net = Net(params, signature=rows.signature, n_classes=rows.n_classes)
            begun = time.process_time()
            net.fit(rows, valid, PlainRun(0, numerics))
            seconds.append(time.process_time() - begun)
        cost[str(batch)] = round(min(seconds), 3)
    file.write_text(json.dumps(cost), encoding="utf-8")


def best_so_far(record: SearchRecord) -> Floats:
    """The loss of the best complete trial after each trial; NaN before the first one."""
    best = np.minimum.accumulate(losses_of(record))
    return np.where(np.isinf(best), np.nan, best)


def losses_of(record: SearchRecord) -> Floats:
    """The losses of the complete trials; infinity for the others."""
    losses = [one.loss if one.state == "complete" and one.loss is not None else np.inf for one in record.trials]
    return np.array(losses, dtype=np.float64)


def ends(record: SearchRecord, cost: Mapping[str, float], workers: int = WORKERS) -> Floats:
    """The seconds at which each trial ends if this number of workers take the trials in their order."""
    free = [0.0] * workers
    found = []
    for trial in record.trials:
        batch = str(trial.member.get("batch_size", BATCHES[0]))
        found.append(heapq.heappop(free) + trial.epochs * cost[batch])
        heapq.heappush(free, found[-1])
    return np.array(found)


def best_at(record: SearchRecord, cost: Mapping[str, float], times: Floats) -> Floats:
    """The loss of the best complete trial at each of the `times`, in seconds; NaN before the first one."""
    done = ends(record, cost)
    order = np.argsort(done, kind="stable")
    best = np.minimum.accumulate(losses_of(record)[order])
    place = np.searchsorted(done[order], times, side="right") - 1
    return np.where((place < 0) | np.isinf(best[place]), np.nan, best[place])


def experiments(records: Sequence[SearchRecord], size: int) -> list[float]:
    """The best losses of experiments of this number of random trials: the trials of each search in groups of `size`."""
    found = []
    for record in records:
        losses = [one.loss if one.loss is not None else np.inf for one in record.trials]
        found += [min(losses[start : start + size]) for start in range(0, len(losses) - size + 1, size)]
    return found


def show(kept: Kept, seeds: Sequence[int]) -> Iterator[str]:
    """The table, from what is kept; draws the two plots."""
    records = {method: [kept.record(name_of(method, seed)) for seed in seeds] for method in METHODS}
    boards = {method: [kept.board(name_of(method, seed)) for seed in seeds] for method in METHODS}
    cost: dict[str, float] = json.loads((kept.folder / "cost.json").read_bytes())
    after = [f"NLL after {number}" for number in SHOWN]
    heads = (
        "method",
        "epochs",
        "seconds",
        *after,
        "less random",
        f"after {AT:.0f} s",
        "test NLL",
        "less random",
        "accuracy",
    )
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    tested = {
        method: {name: [board["members"][0]["test"][name] for board in found] for name in ("nll", "accuracy")}
        for method, found in boards.items()
    }
    final = {method: [best_so_far(one)[-1] for one in found] for method, found in records.items()}
    for method, found in records.items():
        epochs = np.mean([sum(one.epochs for one in record.trials) for record in found])
        seconds = np.mean([ends(record, cost).max() for record in found])
        curves = [best_so_far(record) for record in found]
        reached = [mean([curve[number - 1] for curve in curves]) for number in SHOWN]
        against = difference(final[method], final["random"]) if method != "random" else ""
        timed = mean([float(best_at(record, cost, np.array([AT]))[0]) for record in found])
        losses, right = (tested[method][name] for name in ("nll", "accuracy"))
        test = [mean(losses), difference(losses, tested["random"]["nll"]) if method != "random" else "", mean(right)]
        cells = [f"{epochs:.0f}", f"{seconds:.0f}", *reached, against, timed, *test]
        yield f"| {method} | {' | '.join(cells)} |"
    yield f"seconds of one core for an epoch, by the batch size: {cost}"
    for size in SIZES:
        bests = experiments(records["random"], size)
        low, median, high = np.percentile(bests, [25, 50, 75])
        yield f"best of {size} random trials: median {median:.4f}, quartiles {low:.4f} and {high:.4f} ({len(bests)})"
    draw_curves(kept.folder / "search-methods.png", records, cost)
    draw_efficiency(kept.folder / "search-efficiency.png", records)


def draw_curves(path: Path, records: Mapping[str, Sequence[SearchRecord]], cost: Mapping[str, float]) -> None:
    """The mean of the best loss so far with its interval, over trials and over seconds."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    by_trial, by_time = figure.subplots(1, 2, sharey=True)
    longest = max(ends(one, cost).max() for found in records.values() for one in found)
    times = np.linspace(0, longest, 400)
    lows = []
    for number, (method, found) in enumerate(records.items()):
        places = np.arange(1, TRIALS + 1)
        curves = np.array([best_so_far(one)[:TRIALS] for one in found])
        _band(by_trial, places, curves, method, f"C{number}")
        own = times[times <= max(ends(one, cost).max() for one in found) + times[1]]
        _band(by_time, own, np.array([best_at(one, cost, own) for one in found]), method, f"C{number}")
        lows.append(curves[:, -1].mean())
    by_trial.set(xlabel="trials", ylabel="validation log-loss of the best trial so far", xlim=(1, TRIALS))
    by_trial.set_ylim(min(lows) - 0.04, min(lows) + 0.2)
    by_time.set(xlabel=f"seconds on {WORKERS} cores", xlim=(0, longest))
    by_time.legend(frameon=False)
    for axes in (by_trial, by_time):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _band(axes: Axes, x: Floats | NDArray[np.int64], curves: Floats, label: str, colour: str) -> None:
    known = ~np.isnan(curves).any(axis=0)
    middle = curves[:, known].mean(axis=0)
    half = np.array([half_width(list(column)) for column in curves[:, known].T])
    axes.plot(x[known], middle, color=colour, label=label)
    axes.fill_between(x[known], middle - half, middle + half, color=colour, alpha=0.12, linewidth=0)


def draw_efficiency(path: Path, records: Mapping[str, Sequence[SearchRecord]]) -> None:
    """The random experiment efficiency curve (Bergstra and Bengio, 2012, section 2.2), with the other methods after 24
    trials."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    samples = [experiments(records["random"], size) for size in SIZES]
    axes.boxplot(samples, positions=range(len(SIZES)), widths=0.5, showfliers=False)
    axes.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
    for number, (method, found) in enumerate(records.items()):
        if method != "random":
            last = np.mean([best_so_far(one)[-1] for one in found])
            axes.axhline(float(last), color=f"C{number}", linewidth=1, label=f"{method} after {TRIALS} trials (mean)")
    low = min(min(one) for one in samples)
    axes.set(xlabel="random trials in one experiment", ylabel="validation log-loss of the best trial")
    axes.set_ylim(low - 0.02, low + 0.6)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=110)
