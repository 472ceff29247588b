"""Metrics that come from overwritten memory are distinguished from those of a hard problem."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.execution.jobs import CNN, fitted, plan_of, run

from quorate.execution.events import Failed, Reported
from quorate.execution.local import LocalExecutor
from quorate.job.intake import AttemptHistory
from quorate.training import loop
from quorate.training.soundness import difference, unsound

CALM = [{"train_loss": 0.9, "grad_norm": 3.0}, {"train_loss": 0.7, "grad_norm": 2.0}]


@pytest.mark.parametrize(
    "norm,loss,history",
    [(5.85e9, 0.6, []), (5.85e9, 0.6, CALM), (1e7, 0.6, CALM), (math.inf, 0.6, []), (math.nan, 0.6, CALM)],
)
def test_a_gradient_norm_that_the_loss_does_not_explain_is_unsound(norm, loss, history):
    assert "the gradient norm is" in str(unsound({"train_loss": loss, "grad_norm": norm}, history))


@pytest.mark.parametrize(
    "norm,loss,history",
    [
        (2.0, 0.6, []),
        (2e3, 0.9, CALM),  # a spike of a warm-up
        (5e5, 30.0, CALM),  # a rate that is too high
        (1e9, 1e8, []),  # inputs that are not standardized: the loss is as large
        (0.1, 1e-6, [{"train_loss": 1e-6, "grad_norm": 1e-9}]),
        (1e7, 20.0, [{"train_loss": 0.0, "grad_norm": 0.0}]),
        (3.0, 0.6, [{"pretrain_loss": 1.0}]),
    ],
)
def test_hard_trainings_are_sound(norm, loss, history):
    assert unsound({"train_loss": loss, "grad_norm": norm}, history) is None


@pytest.mark.parametrize(
    "other,differs",
    [
        ({"train_loss": 0.9, "grad_norm": 3.0}, False),
        ({"train_loss": 0.91, "grad_norm": 4.0}, False),
        ({"train_loss": 0.9, "grad_norm": 5.85e9}, True),
        ({"train_loss": 90.0, "grad_norm": 3.0}, True),
        ({"train_loss": 0.9, "grad_norm": 0.0}, True),
    ],
)
def test_attempts_may_differ_by_rounding_only(other, differs):
    assert (difference(CALM[0], other) is not None) == differs
    assert (difference(other, CALM[0]) is not None) == differs


def test_a_result_is_rejected_if_an_earlier_attempt_had_different_metrics():
    plan = plan_of({"cnn": {**CNN, "epochs": 2}})
    events = run(LocalExecutor(), plan)
    result = next(iter(fitted(events).values()))
    first = next(event for event in events if isinstance(event, Reported) and event.task.key == result.task.key)

    same, other = AttemptHistory(), AttemptHistory()
    same.compared(first)
    other.compared(replace(first, metrics={**first.metrics, "grad_norm": 5.85e9}))

    assert same.compared(result) is result
    judged = other.compared(result)
    assert isinstance(judged, Failed) and (judged.status, judged.final) == ("diverged", True)
    assert judged.message.startswith("two attempts at this task differ: in epoch 1, grad_norm 5.85e+09 in one and")


def test_a_network_whose_gradients_are_absurd_has_diverged(monkeypatch):
    monkeypatch.setattr(loop.Tally, "norm", lambda self: 5.85e9)

    (failed, *_) = [event for event in run(LocalExecutor(), plan_of({"cnn": CNN})) if isinstance(event, Failed)]

    assert failed.status == "diverged"
    assert "the gradient norm is 5.85e+09, and the training loss only" in failed.message
    assert "memory was corrupted" in failed.message
