"""The models in a bundle: fold models, the best of them, or refits on all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.jobs import NET, SMALL, Here
from tests.members.plain_run import PlainRun

from quorate.bundle import Bundle, verified_manifest
from quorate.data.source import first_rows
from quorate.data.splitting import make_folds
from quorate.ensemble.metrics import nll
from quorate.job.production import _best_epoch
from quorate.members.logistic import Logistic
from quorate.plan.identity import derive_seed
from quorate.registry import DATASETS
from quorate.spec import ValidationSpec
from quorate.spec.file import SpecError

MEMBERS: dict[str, Any] = {
    "forest": {"kind": "random_forest", "trees": 30},
    "linear": {"kind": "logistic"},
    "cnn": {**NET, "epochs": 6, "schedule": "constant", "early_stopping": {"patience": 2}, "ema": 0.9},
}
MEAN = {"kind": "mean", "calibration": "temperature", "final": "temperature"}
JOB: dict[str, Any] = {**SMALL, "members": MEMBERS, "combiner": MEAN, "validation": {"folds": 3}}


def rows():
    opened = first_rows(DATASETS.get("digits").open(DATASETS.get("digits").Params(limit=400)), 400)
    assert opened.test is not None
    return opened.train, opened.test


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("production"))


@pytest.fixture(scope="module")
def refit(here: Here) -> tuple[Path, dict[str, Any]]:
    board = here.run({**JOB, "production": {"refit": True}})
    return here.newest_run(), board


def test_every_member_with_weight_is_trained_on_all_rows(refit: tuple[Path, dict[str, Any]]) -> None:
    folder, board = refit
    manifest = verified_manifest(folder / "bundle")

    assert [list(member.folds) for member in manifest.members if member.weight] == [
        [f"members/{name}/all"] for name in ("forest", "linear", "cnn", "cnn.ema")
    ]
    train, test = rows()
    alone = Logistic(Logistic.Params(), signature=train.signature, n_classes=10)
    alone.fit(train, train.take(np.arange(5)), PlainRun(seed=derive_seed(0, "linear", 0, -1)))
    found = Bundle.load(folder / "bundle").predict(test.x, members=True)
    assert found.members is not None
    np.testing.assert_allclose(found.members["linear"], alone.predict_proba(test.x), atol=1e-6)
    assert board["ensemble"]["test"]["nll"] == pytest.approx(nll(found.proba, test.y), abs=1e-6)
    with np.load(folder / "test.npz") as kept:  # what other commands know of the test rows is of these models too
        np.testing.assert_allclose(kept["proba"], list(found.members.values()), atol=1e-6)
    assert "each member is trained again on all rows" in board["ensemble"]["production"]
    assert "stopped early" not in board["ensemble"]["production"]


def test_the_out_of_fold_metrics_of_a_refit_are_those_of_the_folds(
    refit: tuple[Path, dict[str, Any]], here: Here
) -> None:
    _, board = refit

    plain = here.run(JOB)

    assert plain["ensemble"]["oof"] == board["ensemble"]["oof"]
    assert plain["oof_sha256"] == board["oof_sha256"]
    assert plain["ensemble"]["production"] is None
    assert plain["ensemble"]["test"] != board["ensemble"]["test"]


def test_an_early_stopped_network_is_trained_for_the_mean_of_its_folds_best_epochs(
    refit: tuple[Path, dict[str, Any]], here: Here
) -> None:
    log = (refit[0] / "logs" / "cnn.allrows.log").read_text()
    epochs = log.count("epoch ")
    best = []
    for fold in (1, 2, 3):
        lines = [
            line for line in (refit[0] / "logs" / f"cnn.fold{fold}.log").read_text().splitlines() if "epoch" in line
        ]
        losses = [float(line.split("valid_loss ")[1].split(",")[0]) for line in lines]
        best.append(int(np.argmin(losses)) + 1)
    assert epochs == round(np.mean(best))


def test_networks_whose_epochs_cannot_be_those_of_the_folds_are_named(here: Here) -> None:
    varied = {**NET, "copies": 2, "vary": {"lr": [0.02, 0.05]}, "early_stopping": {"patience": 2}}

    board = here.run({**JOB, "members": {"cnn": varied}, "production": {"refit": True}})

    assert "; for cnn.1, cnn.2, early stopping used a part of the training rows" in board["ensemble"]["production"]


def test_a_second_start_trains_nothing(refit: tuple[Path, dict[str, Any]], here: Here) -> None:
    board = here.run({**JOB, "production": {"refit": True}})

    assert board["tasks"]["trained"] == 0
    assert "on all rows: 4 fit tasks, 4 reused" in here.said
    assert board["ensemble"]["test"] == refit[1]["ensemble"]["test"]


def test_the_best_folds_are_those_of_the_least_validation_loss(here: Here) -> None:
    board = here.run({**JOB, "production": {"folds": "best 2"}})
    run = here.newest_run()

    manifest, whole = verified_manifest(run / "bundle"), np.load(run / "oof.npz")
    assert [len(member.folds) for member in manifest.members] == [2] * 4
    assert "best 2 of 3 fold models" in manifest.production
    train, test = rows()
    bundle = Bundle.load(run / "bundle")
    found = bundle.predict(test.x, members=True).members or {}
    models = bundle.models["linear"]
    np.testing.assert_allclose(found["linear"], np.mean([m.predict_proba(test.x) for m in models], axis=0), atol=1e-6)
    assert board["ensemble"]["test"]["nll"] == pytest.approx(nll(bundle.predict(test.x).proba, test.y), abs=1e-6)
    # the fold left out has the greatest loss of its member's predictions for its own rows
    linear = whole["members"].tolist().index("linear")
    kept = [int(place.rpartition("/")[2]) for place in manifest.members[linear].folds]
    folds = make_folds(train.y, ValidationSpec(folds=3), derive_seed(0, "folds"))
    losses = [nll(whole["proba"][linear][fold.valid], train.y[fold.valid]) for fold in folds.folds]
    assert kept == sorted(np.argsort(losses)[:2].tolist())


def test_the_best_epoch_is_chosen_by_the_metric_of_early_stopping() -> None:
    history = [{"pretrain_loss": 1.0}, *({"valid_loss": 1.0, "valid_accuracy": a} for a in (0.2, 0.6, 0.4))]

    assert _best_epoch(history, "accuracy") == 2
    assert _best_epoch([], "loss") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"production": {"folds": "best 4"}}, "the best 4 fold models are requested, but there are only 3 folds"),
        ({"production": {"folds": "best"}}, "production.folds"),
        ({"production": {"folds": "best 2", "refit": True}}, "refit replaces the fold models"),
        (
            {"production": {"refit": True}, "execution": {"executor": "local", "budget": "60s"}},
            "production.refit cannot be used with a budget; leave out production.refit or the budget",
        ),
    ],
)
def test_impossible_production_settings_are_refused(changes: dict[str, Any], words: str, here: Here) -> None:
    with pytest.raises(SpecError, match=words):
        here.run({**JOB, **changes})
