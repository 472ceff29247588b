"""What a search costs besides the training: `python -m tests.benchmarks.search_overhead`.

Runs a search of trials that do nothing, and one of trials that take a second, on a Ray that is running, with two
workers; then the same functions with Ray Tune's `Tuner`, which gives each trial to a Ray actor, with `reuse_actors`.
Random search, no portfolio; a fit of ours is stored with its model and its predictions, and sent to MLflow.
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

WORKERS = 2
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
    search = {"method": "random", "trials": trials, "portfolio": False, "space": {"x": "uniform(0, 1)"}}
    job = {**JOB, "members": {"nothing": {"kind": f"{own}:nothing", "search": {**search, "parallel": 2 * WORKERS}}}}
    (folder / f"{own}.py").write_text(OWN.format(seconds=seconds))
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    loaded, console, stop = load_job(folder / "job.yaml"), Console(quiet=True), StopRequest()
    options = Options(open_store(str(folder / "store")), runs_place(), "ray", "local")
    with workplace_of(loaded, options, console, stop) as place:
        place.executor()
        shared = Options(options.store, options.runs, "ray", "local", place=place)
        record, _ = run_search(loaded, "nothing", shared, console=console, stop=stop)
    ends = sorted(one.ended or 0.0 for one in record.trials)
    assert len(ends) == trials and all(one.state == "complete" for one in record.trials)
    return ends[-1], (ends[-1] - ends[0]) / (trials - 1)


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


if __name__ == "__main__":
    main()
