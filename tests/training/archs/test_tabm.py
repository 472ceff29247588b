"""TabM: the network of the library, trained on each of its predictions and evaluated on their mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from tabm import TabM
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_table

from quorate.members.base import HEADER, load_member
from quorate.members.net import Net, NetParams
from quorate.registry import ARCHS
from quorate.training.context import Signal
from quorate.training.shapes import TableShape

TRAIN, VALID = tiny_table(rows=100), tiny_table(rows=40, seed=1)
ARCH = {"kind": "tabm", "k": 3, "blocks": 2, "width": 16, "embeddings": {"kind": "piecewise_linear", "size": 4}}


def fit(run: PlainRun, *, valid=VALID, arch: Mapping[str, Any] = ARCH, **settings: Any) -> Net:
    given = {"arch": arch, "epochs": 4, "batch_size": 32, "lr": 0.01, "optimizer": "adamw", "dropout": 0.1, **settings}
    return Net(NetParams.model_validate(given), signature=TRAIN.signature, n_classes=3).fit(TRAIN, valid, run)


@pytest.mark.parametrize("variant", ["mini", "full", "packed"])
def test_it_is_the_network_of_the_library(variant: str) -> None:
    # given: only numbers, because unknown categories are not the library's
    params = ARCHS.get("tabm").Params.model_validate(
        {"kind": "tabm", "k": 3, "blocks": 2, "width": 8, "variant": variant, "embeddings": "none"}
    )
    network = ARCHS.get("tabm").build(params, shape=TableShape(4), n_classes=2, dropout=0.0)
    kind = {"mini": "tabm-mini", "full": "tabm", "packed": "tabm-packed"}[variant]
    start = None if variant == "packed" else "random-signs"
    theirs = TabM(
        n_num_features=4, d_out=2, k=3, n_blocks=2, d_block=8, dropout=0.0, arch_type=kind, start_scaling_init=start
    )

    theirs.load_state_dict(dict(network.state_dict()))

    x = torch.randn(5, 4)
    torch.testing.assert_close(network.train()(x), theirs.train()(x))
    mean = theirs.eval()(x).softmax(dim=2).mean(dim=1)
    torch.testing.assert_close(network.eval()(x).softmax(dim=1), mean)


def test_the_validation_loss_is_that_of_the_mean_prediction() -> None:
    net = fit(PlainRun())

    proba = net.predict_proba(VALID.x).astype(np.float64)
    assert net.history[-1]["valid_loss"] == pytest.approx(log_loss(VALID.y, proba), rel=1e-4)


@pytest.mark.parametrize("report", [1, 3, 4, 6])
def test_a_stopped_training_resumes_to_the_same_bits(report: int) -> None:
    undisturbed = fit(PlainRun())
    run = PlainRun(answers={report: Signal.STOP})
    fit(run)
    torch.manual_seed(report)  # another process has other random numbers

    resumed = fit(run.resumed(report))

    np.testing.assert_array_equal(resumed.predict_proba(VALID.x), undisturbed.predict_proba(VALID.x))


def test_the_bins_are_quantiles_of_the_training_rows_and_travel_with_the_network(tmp_path) -> None:
    net, other = fit(PlainRun()), fit(PlainRun(), valid=tiny_table(rows=40, seed=2))

    net.save(tmp_path)

    edges = json.loads((tmp_path / HEADER).read_text())["edges"]
    numbers = net.features(TRAIN.x)[:, : len(edges)]
    for column, found in zip(numbers.T, edges, strict=True):
        expected = np.unique(np.quantile(column, np.linspace(0, 1, 49)).astype(np.float32))
        np.testing.assert_array_equal(found, expected if len(np.unique(column)) > 2 else [])
    assert any(edges) and not all(edges), "both kinds of numbers occur here"
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(VALID.x), net.predict_proba(VALID.x))
    np.testing.assert_array_equal(other.predict_proba(VALID.x), net.predict_proba(VALID.x))


def test_a_deadline_leaves_the_weights_of_the_best_epoch() -> None:
    net = fit(PlainRun(answers={12: Signal.STOP}), epochs=50)

    losses = [figures["valid_loss"] for figures in net.history]
    assert len(losses) == 3
    assert log_loss(VALID.y, net.predict_proba(VALID.x)) == pytest.approx(min(losses), rel=1e-4)


def test_decay_of_weights_spares_linear_embeddings_and_biases() -> None:
    params = ARCHS.get("tabm").Params.model_validate(ARCH)
    shape = TableShape(1, (), ((0.0, 1.0, 2.0),))
    network = ARCHS.get("tabm").build(params, shape=shape, n_classes=2, dropout=0.0)

    spared = network.no_weight_decay()

    assert spared == {f"columns.embedded_numbers.embedding.linear0.{name}" for name in ("weight", "bias")}
