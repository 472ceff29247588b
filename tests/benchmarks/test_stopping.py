"""The benchmark of early stopping chooses the epochs that the product chooses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.benchmarks.stopping import RULES, chosen, network, trajectory
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_table

from quorate.training.stopping import Metric

EPOCHS, PATIENCE = 40, 3


@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_of_the_trajectory_is_what_early_stopping_restores(rule: Metric) -> None:
    # given: the predictions of every epoch
    train, valid, scored = (tiny_table(rows=90, seed=seed) for seed in range(3))
    net = network("tiny", train, "calibrated_loss", EPOCHS, EPOCHS)
    found = trajectory(net, train, valid, scored, seed=5)

    # when: the product trains with the rule
    stopped = network("tiny", train, rule, PATIENCE, EPOCHS).fit(train, valid, PlainRun(5, found.numerics))

    # then
    epoch, trained = chosen(found.losses(rule), PATIENCE)
    assert len(stopped.history) == trained < EPOCHS
    assert np.array_equal(stopped.predict_proba(valid.x), found.epochs[epoch][0])
    assert np.array_equal(stopped.predict_proba(scored.x), found.epochs[epoch][1])
