"""Early stopping: is the epoch with the lowest calibrated loss better than the one with the lowest plain loss?

`python -m tests.benchmarks.stopping run FILE` measures, and adds to FILE, so that it can be ended and started again;
`python -m tests.benchmarks.stopping table FILE` prints the result. Fixed before the first run:

- Training rows only: soybean, vehicle, digits and dna (all), satellite and letter (4,000), adult (6,000), fashion
  (3,000), and 1,500 photographs of flowers as features of a frozen network (tf_efficientnet_lite0, 128 pixels). They
  are split into five parts, stratified by class. One part is for scoring, the next one for validation, and three for
  training: five fits per seed. Two seeds; three were planned, and no result had been read when this was changed.
- One network per data set: `small_cnn` for digits and fashion (of width 8), `mlp` with the default sizes for tables
  and features. AdamW, a constant learning rate of .001, a dropout of .1, batches of 64, at most 100 epochs.
- Both rules see the same training: one fit keeps the predictions of every epoch, until both rules have stopped. The
  rules are `early_stopping: {metric: loss}` and `{metric: calibrated_loss}`, with a patience of 5 (the default) and 16
  (that of `pipelines/adult_networks.yaml`). `test_stopping` shows that the chosen epochs are those of the product.
- The score is the log-loss on the scored part after a temperature that is fitted on the validation rows, because an
  ensemble calibrates its members. The difference is that of the calibrated loss less that of the plain loss. Its 95 %
  interval is over the fits (Student's t).
- What decides: the logarithm of the ratio of the two mean losses, averaged over the data sets, with a patience of 5.
  `calibrated_loss` becomes the default of `metric` if the 95 % interval of this mean (Student's t over the data sets)
  is below 0, and no data set has an interval of its difference above 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn.model_selection import StratifiedKFold
from tests.benchmarks.known_data import training_rows
from tests.benchmarks.small_data import interval
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.data.dataset import Dataset
from quorate.ensemble.metrics import nll
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.members.base import Proba
from quorate.members.net import Net, NetParams
from quorate.plan.identity import derive_seed
from quorate.training.context import Metrics, Signal, State
from quorate.training.stopping import Metric

ROWS = {
    "soybean": 472,
    "vehicle": 592,
    "digits": 1347,
    "flowers": 1500,
    "dna": 2230,
    "satellite": 4000,
    "letter": 4000,
    "adult": 6000,
    "fashion": 3000,
}
ARCHS: dict[str, dict[str, Any]] = {"digits": {"kind": "small_cnn"}, "fashion": {"kind": "small_cnn", "width": 8}}
RECIPE = {"optimizer": "adamw", "lr": 1e-3, "dropout": 0.1, "batch_size": 64}
EPOCHS = 100
PARTS, SEEDS = 5, 2
RULES: tuple[Metric, ...] = ("loss", "calibrated_loss")
PATIENCES = (5, 16)


@dataclass
class Trajectory(PlainRun):
    """Keeps the predictions of every epoch, and ends the training when every rule has stopped."""

    predict: Callable[[], tuple[Proba, Proba]] | None = None
    epochs: list[tuple[Proba, Proba]] = field(default_factory=list)
    """Probabilities of the validation rows and of the scored rows."""

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        if metrics is None:
            return Signal.CONTINUE
        self.reports.append(metrics)
        assert self.predict is not None
        self.epochs.append(self.predict())
        trained = len(self.epochs)
        ended = all(trained - chosen(self.losses(rule), max(PATIENCES))[0] > max(PATIENCES) for rule in RULES)
        return Signal.STOP if ended else Signal.CONTINUE

    def losses(self, rule: Metric) -> list[float]:
        """The criterion of each epoch."""
        return [metrics[f"valid_{rule}"] for metrics in self.reports if metrics is not None]


def chosen(losses: Sequence[float], patience: int) -> tuple[int, int]:
    """The epoch, from 0, that early stopping restores, and the number of epochs that it trains."""
    best = 0
    for epoch, loss in enumerate(losses):
        if epoch - best > patience:
            return best, epoch
        if loss < losses[best]:
            best = epoch
    return best, len(losses)


def split(rows: Dataset, seed: int, part: int) -> tuple[Dataset, Dataset, Dataset]:
    """The rows for training, for validation and for scoring."""
    splitter = StratifiedKFold(PARTS, shuffle=True, random_state=seed)
    held = [found for _, found in splitter.split(np.zeros(len(rows)), rows.y)]
    scored, valid, *train = (held[(part + turn) % PARTS] for turn in range(PARTS))
    return rows.take(np.sort(np.concatenate(train))), rows.take(valid), rows.take(scored)


def network(data: str, train: Dataset, rule: Metric, patience: int, epochs: int = EPOCHS) -> Net:
    stopping = {"metric": rule, "patience": patience}
    values = {"arch": ARCHS.get(data, {"kind": "mlp"}), "epochs": epochs, "early_stopping": stopping, **RECIPE}
    return Net(NetParams.model_validate(values), signature=train.signature, n_classes=train.n_classes)


def trajectory(net: Net, train: Dataset, valid: Dataset, scored: Dataset, seed: int) -> Trajectory:
    numerics = Net.numerics(net.params, signature=train.signature, rows=len(train), hardware=LAPTOP)
    context = Trajectory(seed, numerics)
    context.predict = lambda: (net.predict_proba(valid.x), net.predict_proba(scored.x))
    net.fit(train, valid, context)
    return context


def outcomes(found: Trajectory, valid: Dataset, scored: Dataset) -> dict[str, dict[str, float]]:
    """The score of each rule and patience."""
    results = {}
    for rule, patience in itertools.product(RULES, PATIENCES):
        epoch, trained = chosen(found.losses(rule), patience)
        held, proba = found.epochs[epoch]
        temperature = fit_temperature(proba=held, y=valid.y)
        scaled = apply_temperature(proba=proba, temperature=temperature)
        results[f"{rule} {patience}"] = {
            "nll": nll(scaled, scored.y),
            "raw": nll(proba, scored.y),
            "error": float((proba.argmax(axis=1) != scored.y).mean()),
            "temperature": temperature,
            "epoch": epoch + 1,
            "trained": trained,
        }
    return results


def run(file: Path, names: Sequence[str]) -> None:
    done = {json.loads(line)["name"] for line in file.read_text().splitlines()} if file.exists() else set()
    known = {data: training_rows(data, ROWS[data]) for data in names}
    with file.open("a") as out:
        for seed, data, part in itertools.product(range(SEEDS), names, range(PARTS)):
            if (name := f"{data} {seed} {part}") in done:
                continue
            train, valid, scored = split(known[data], seed, part)
            began = time.perf_counter()
            net = network(data, train, "calibrated_loss", EPOCHS)
            found = trajectory(net, train, valid, scored, derive_seed(seed, data, part))
            line = {"name": name, "results": outcomes(found, valid, scored), "epochs": len(found.epochs)}
            print(json.dumps(line | {"seconds": time.perf_counter() - began}), file=out, flush=True)


def table(file: Path) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for patience in PATIENCES:
        print(f"\npatience {patience}\n")
        print("| data set | fits | plain loss | calibrated loss | difference | epochs | errors |")
        ratios = []
        for data in ROWS:
            fits = [line["results"] for line in lines if line["name"].split()[0] == data]
            if len(fits) < 2:
                continue
            plain, other = ([fit[f"{rule} {patience}"] for fit in fits] for rule in RULES)
            means = [float(np.mean([one["nll"] for one in side])) for side in (plain, other)]
            ratios.append(float(np.log(means[1] / means[0])))
            epochs = [np.mean([one["epoch"] for one in side]) for side in (plain, other)]
            errors = [np.mean([one["error"] for one in side]) for side in (plain, other)]
            gaps = [b["nll"] - a["nll"] for a, b in zip(plain, other, strict=True)]
            print(
                f"| {data} | {len(fits)} | {means[0]:.4f} | {means[1]:.4f} | {interval(gaps)} | "
                f"{epochs[0]:.0f}, {epochs[1]:.0f} | {errors[0]:.4f}, {errors[1]:.4f} |"
            )
        half = float(stats.sem(ratios) * stats.t.ppf(0.975, len(ratios) - 1))
        mean = float(np.mean(ratios))
        print(f"mean logarithm of the ratio: {mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=["run", "table"])
    asked.add_argument("file", type=Path)
    asked.add_argument("--data", nargs="*", default=list(ROWS))
    given = asked.parse_args()
    if given.what == "table":
        table(given.file)
    else:
        run(given.file, given.data)


if __name__ == "__main__":
    main()
