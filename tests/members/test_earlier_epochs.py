"""Networks whose first epochs had other parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.registry import InvalidParams
from quorate.training.context import OTHER_PARAMETERS, Signal

TRAIN, VALID = tiny_data(rows=100), tiny_data(rows=30, seed=1)
STEPS = 4
PLAIN: dict[str, Any] = {
    "arch": {"kind": "mlp", "hidden": [16]},
    "epochs": 5,
    "batch_size": 32,
    "lr": 0.05,
    "dropout": 0.3,
    "schedule": "one_cycle",
}
CHANGED = {**PLAIN, "lr": 0.2, "schedule": "cosine", "dropout": 0.1}
OTHERS = {name: PLAIN[name] for name in ("lr", "schedule", "dropout")}


def fit(given: dict[str, Any], run: PlainRun) -> Net:
    params = NetParams.model_validate(given)
    return Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(TRAIN, VALID, run)


def same(net: Net, other: Net) -> bool:
    assert net.network is not None and other.network is not None
    pairs = zip(net.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def rates(net: Net) -> list[float]:
    return [figures["lr"] for figures in net.history]


def test_epochs_with_the_same_parameters_change_nothing() -> None:
    earlier = {"member": "a", "epochs": [{"until": 1}, {"until": 3}]}

    parted = fit({**PLAIN, "earlier": earlier}, PlainRun())

    whole = fit(PLAIN, PlainRun())
    assert same(parted, whole)
    assert rates(parted) == rates(whole)


def test_each_part_has_its_own_parameters() -> None:
    changed = fit({**CHANGED, "earlier": {"member": "a", "epochs": [{"until": 2, "params": OTHERS}]}}, PlainRun())

    assert rates(changed) == rates(fit(PLAIN, PlainRun()))[:2] + rates(fit(CHANGED, PlainRun()))[2:]


def test_a_network_goes_on_from_the_state_of_another_one_with_the_same_bits() -> None:
    given = {**CHANGED, "earlier": {"member": "a", "epochs": [{"until": 2, "params": OTHERS}]}}
    other = PlainRun(answers={2 * STEPS: Signal.STOP})
    fit(PLAIN, other)

    taken_over = fit(given, other.resumed(2 * STEPS))

    assert same(taken_over, fit(given, PlainRun()))
    assert len(taken_over.history) == 5


@pytest.mark.parametrize("report", [3, 2 * STEPS, 2 * STEPS + 1, 4 * STEPS])
def test_it_resumes_in_any_part_with_the_same_bits(report: int) -> None:
    given = {**CHANGED, "earlier": {"member": "a", "epochs": [{"until": 2, "params": OTHERS}]}}
    stopped = PlainRun(answers={report: Signal.STOP})
    fit(given, stopped)

    assert len(stopped.reports) == report, "it ends at once"
    assert same(fit(given, stopped.resumed(report)), fit(given, PlainRun()))


MISTAKES = {
    "order": ([{"until": 3}, {"until": 2}], r"end after the epochs \[3, 2\]; give them in ascending order"),
    "too many": ([{"until": 5}], "earlier ends after epoch 5, but there are 5 epochs; raise epochs"),
    "shape": ([{"until": 2, "params": {"batch_size": 8}}], "batch_size cannot change during training"),
    "optimizer": ([{"until": 2, "params": {"optimizer": "adam"}}], "is adam before and sgd later; its kind cannot"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused(name: str) -> None:
    epochs, message = MISTAKES[name]

    with pytest.raises((ValueError, InvalidParams), match=message):
        NetParams.model_validate({**PLAIN, "earlier": {"member": "a", "epochs": epochs}})


def test_the_mark_of_a_taken_state_is_not_kept() -> None:
    given = {**CHANGED, "earlier": {"member": "a", "epochs": [{"until": 2, "params": OTHERS}]}}
    run = PlainRun(answers={3 * STEPS: Signal.CHECKPOINT})

    fit(given, run)

    assert OTHER_PARAMETERS not in run.resumed(3 * STEPS).restored
