"""What a search costs besides the training: `python -m tests.benchmarks.search_overhead`.

Runs a search of trials that do nothing, and one of trials that take a second, on a Ray that is running, with two
workers; then the same functions with Ray Tune's `Tuner`, which gives each trial to a Ray actor, with `reuse_actors`.
Random search, no portfolio; a fit of ours is stored with its model and its predictions, and sent to MLflow.

Then a population of small networks that are compared after each epoch, and one with Tune's `PopulationBasedTraining` in
a `Tuner` whose trials only write and read a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from quorate.execution.interrupt import StopRequest
from quorate.job.environment import Options, workplace_of
from quorate.runs.lookup import runs_place
from quorate.search.run import run_search
from quorate.spec import load_job
from quorate.store import open_store

WORKERS, EPOCHS = 2, 10
_RUNNING_SECONDS = 12.0
"""How long Ray runs before a search begins: it starts and prepares processes for its workers in this time."""
JOB: dict[str, Any] = {
    "name": "overhead",
    "data": {"kind": "digits"},
    "validation": {"scheme": "holdout", "fraction": 0.2},
    "execution": {"executor": "ray", "workers": WORKERS},
}
OWN = """
import time

from sklearn.dummy import DummyClassifier


def nothing(*, seed: int, x: float = 0.5):
    if seed:  # 0 is a trial of the function itself
        time.sleep({seconds})
    return DummyClassifier(strategy="prior")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--empty", type=int, default=64, help="trials that do nothing")
    parser.add_argument("--slow", type=int, default=200, help="trials that take a second")
    parser.add_argument("--population", type=int, default=8, help="networks of a population, for ten epochs")
    parser.add_argument("--without-tune", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        shown: list[tuple[str, Callable[[int, float], tuple[float, float]]]] = [("quorate", searched)]
        if not chosen.without_tune:
            shown.append(("Tuner", tuned))
        for trials, seconds in ((chosen.empty, 0.0), (chosen.slow, 1.0)):
            for who, run in shown:
                if trials:
                    show(who, trials, seconds, *run(trials, seconds))
        populations = [("quorate", evolved)] + ([] if chosen.without_tune else [("Tuner", evolved_by_tune)])
        for who, evolve in populations if chosen.population else ():
            seconds, steps = evolve(chosen.population), chosen.population * EPOCHS
            shown = f"{seconds:.2f} s, {seconds / steps:.4f} s per epoch of a network"
            print(f"{who}: a population of {chosen.population}, {EPOCHS} epochs: {shown}", flush=True)


def show(who: str, trials: int, seconds: float, whole: float, steady: float) -> None:
    least = trials * seconds / WORKERS
    more = f", {100 * (whole / least - 1):.1f} % above {least:.0f} s" if least else ""
    print(
        f"{who}: {trials} trials of {seconds:.0f} s: {whole:.2f} s until the last one has ended{more}; "
        f"{(whole - least) / trials:.4f} s per trial; {steady - seconds / WORKERS:.4f} s between the ends",
        flush=True,
    )


def searched(trials: int, seconds: float) -> tuple[float, float]:
    """The seconds from the start of a search to the end of its last trial, and the mean seconds between two ends."""
    folder, own = Path(f"search-{seconds:.0f}"), f"own{seconds:.0f}"
    folder.mkdir()
    (folder / f"{own}.py").write_text(OWN.format(seconds=seconds))
    search = {"method": "random", "trials": trials, "portfolio": False, "space": {"x": "uniform(0, 1)"}}
    ends = ends_of(folder, {"kind": f"{own}:nothing", "search": {**search, "parallel": 2 * WORKERS}})
    assert len(ends) == trials
    return ends[-1], (ends[-1] - ends[0]) / (trials - 1)


def evolved(trials: int) -> float:
    """The seconds of a population of networks that hardly take any time."""
    folder = Path("population")
    folder.mkdir()
    search = {"scheduler": "pbt", "every": 1, "trials": trials, "portfolio": False, "method": "random"}
    net = {"kind": "net", "arch": {"kind": "mlp", "hidden": [4]}, "epochs": EPOCHS, "batch_size": 512}
    return ends_of(folder, {**net, "search": {**search, "space": {"lr": "log_uniform(0.001, 1)"}}})[-1]


def ends_of(folder: Path, member: dict[str, Any]) -> list[float]:
    """When the trials of a search ended, in seconds since its start, on a Ray that is running."""
    (folder / "job.yaml").write_text(yaml.safe_dump({**JOB, "members": {"nothing": member}}))
    loaded, console, stop = load_job(folder / "job.yaml"), Console(quiet=True), StopRequest()
    options = Options(open_store(str(folder / "store")), runs_place(), "ray", "local")
    with workplace_of(loaded, options, console, stop) as place:
        place.executor()
        time.sleep(_RUNNING_SECONDS)
        shared = Options(options.store, options.runs, "ray", "local", place=place)
        record, _ = run_search(loaded, "nothing", shared, console=console, stop=stop)
    assert all(one.state in ("complete", "stopped") for one in record.trials)
    return sorted(one.ended or 0.0 for one in record.trials)


def tuned(trials: int, seconds: float) -> tuple[float, float]:
    """The same of Ray Tune's own runner."""
    import ray
    from ray import tune

    from quorate.execution.ray.cluster import start_ray

    ends: list[float] = []

    def nothing(config: dict[str, float]) -> dict[str, float]:
        time.sleep(seconds)
        return {"loss": config["x"]}

    class Ends(tune.Callback):
        def on_trial_complete(self, *given: Any, **more: Any) -> None:
            ends.append(time.perf_counter())

    start_ray("local")
    time.sleep(_RUNNING_SECONDS)
    try:
        tuner = tune.Tuner(
            tune.with_resources(nothing, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=WORKERS, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(Path("tune").absolute()), verbose=0, callbacks=[Ends()]),
        )
        begun = time.perf_counter()
        assert not tuner.fit().errors
    finally:
        ray.shutdown()
    return ends[-1] - begun, (ends[-1] - ends[0]) / (trials - 1)


def evolved_by_tune(trials: int) -> float:
    """The seconds of Tune's population based training whose trials do nothing but keep a checkpoint."""
    import ray
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    from quorate.execution.ray.cluster import start_ray

    def keep(config: dict[str, float]) -> None:
        given, done = tune.get_checkpoint(), 0
        if given is not None:
            with given.as_directory() as folder:
                done = int((Path(folder) / "epoch").read_text())
        for epoch in range(done + 1, EPOCHS + 1):
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "epoch").write_text(str(epoch))
                tune.report({"loss": config["x"], "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))

    start_ray("local")
    time.sleep(_RUNNING_SECONDS)
    try:
        scheduler = PopulationBasedTraining(
            time_attr="epoch", perturbation_interval=1, hyperparam_mutations={"x": tune.uniform(0, 1)}
        )
        tuner = tune.Tuner(
            tune.with_resources(keep, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", num_samples=trials, scheduler=scheduler, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(Path("pbt").absolute()), verbose=0, stop={"epoch": EPOCHS}),
        )
        begun = time.perf_counter()
        assert not tuner.fit().errors
        return time.perf_counter() - begun
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
