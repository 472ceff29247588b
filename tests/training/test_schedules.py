"""Learning rates and steps agree with their formulas, worked by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.members.net import Net, NetParams
from quorate.registry import SCHEDULES
from quorate.training.optimizers import Sgd, SgdParams
from quorate.training.schedule import WatchesEpochs
from quorate.training.schedules import (
    Constant,
    ConstantParams,
    Cosine,
    CosineParams,
    OneCycle,
    OneCycleParams,
    Plateau,
    PlateauParams,
    Step,
    StepParams,
    cycle_ends,
)


def rates(kind, params, *, lr: float, epochs: int, steps: int, figures: list[dict[str, float]] | None = None):
    """The rate of every step; `figures` are those of the epochs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return [found[0] for found in rates_of(optimizer, kind, params, epochs=epochs, steps=steps, figures=figures)]


def rates_of(optimizer, kind, params, *, epochs: int, steps: int, figures=None) -> list[list[float]]:
    """The rate of each group in every step."""
    schedule = kind.build(params, optimizer, epochs=epochs, steps=steps)
    found = []
    for epoch in range(epochs):
        for _ in range(steps):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
        if isinstance(schedule, WatchesEpochs):
            schedule.end_epoch(figures[epoch] if figures else {"valid_loss": 1.0})
    return found


def test_the_constant_schedule_keeps_the_rate():
    assert rates(Constant, ConstantParams(), lr=0.3, epochs=3, steps=4) == [0.3] * 12


def test_the_step_schedule_multiplies_the_rate_every_few_epochs():
    found = rates(Step, StepParams(every=2, factor=0.5), lr=0.8, epochs=5, steps=3)

    assert found == pytest.approx([0.8] * 6 + [0.4] * 6 + [0.2] * 3)


def test_one_cycle_rises_and_falls_along_cosines():
    # given
    epochs, steps, lr = 5, 8, 0.5
    total = epochs * steps

    # when
    found = rates(OneCycle, OneCycleParams(rise=0.25, start=10, end=100), lr=lr, epochs=epochs, steps=steps)

    # then: step 9 of 0..39 is the highest
    def cosine(start: float, end: float, part: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2

    peak, last = 0.25 * total - 1, total - 1
    low, least = lr / 10, lr / 10 / 100
    expected = [
        cosine(low, lr, i / peak) if i <= peak else cosine(lr, least, (i - peak) / (last - peak)) for i in range(total)
    ]
    assert found == pytest.approx(expected)
    assert (found[0], max(found), found[9], found[-1]) == pytest.approx((0.05, 0.5, 0.5, 0.0005))


@pytest.mark.parametrize(
    ("epochs", "steps", "rise"), [(1, 1, 0.3), (5, 2, 0.1), (1, 2, 0.5), (2, 1, 0.3), (1, 4, 0.25)]
)
def test_one_cycle_serves_the_shortest_training(epochs, steps, rise):
    found = rates(OneCycle, OneCycleParams(rise=rise), lr=0.5, epochs=epochs, steps=steps)

    assert len(found) == epochs * steps
    assert all(0 < rate <= 0.5 for rate in found)


def formula(kind: str, steps: int, epochs: int):
    """A schedule's factor of `lr` in each step after the warm-up, and the parameters that it is for."""
    total = epochs * steps
    return {
        "constant": ({}, lambda i: 1.0),
        "step": ({"every": 2, "factor": 0.3}, lambda i: 0.3 ** (i // (2 * steps))),
        "exponential": ({"factor": 0.7}, lambda i: 0.7 ** (i / steps)),
        "inverse_time": ({"half": 1.5}, lambda i: 1.5 / (1.5 + i / steps)),
        "plateau": ({"patience": 1, "factor": 0.2}, lambda i: 0.2 if i >= 3 * steps else 1.0),
        "cosine": ({"end": 0.1}, lambda i: 0.1 + 0.9 * math.cos(math.pi * i / total / 2) ** 2),
        "one_cycle": ({"rise": 0.25, "start": 10, "end": 100}, lambda i: one_cycle(i, total)),
    }[kind]


def one_cycle(i: int, total: int) -> float:
    """`rise` of .25, `start` of 10, `end` of 100."""
    peak = 0.25 * total - 1
    if i <= peak:
        return 0.1 + 0.9 * math.sin(math.pi * i / peak / 2) ** 2
    return 0.001 + 0.999 * math.cos(math.pi * (i - peak) / (total - 1 - peak) / 2) ** 2


KINDS = [name for name in SCHEDULES.names() if SCHEDULES.reference(name) is None]


@pytest.mark.parametrize("warmup", [0, 1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_every_schedule_follows_its_formula_after_its_warm_up(name, warmup):
    # given: five epochs of eight steps for the schedule itself
    epochs, steps, lr = 5, 8, 0.5
    options, factor = formula(name, steps, epochs)
    kind = SCHEDULES.get(name)
    params = kind.Params.model_validate({"kind": name, **options, "warmup": warmup, "warmup_start": 0.2})
    params.check_epochs(epochs + warmup)

    # when
    found = rates(kind, params, lr=lr, epochs=epochs + warmup, steps=steps)

    # then
    length = warmup * steps
    line = [lr * factor(0) * (0.2 + 0.8 * i / length) for i in range(length)]
    assert found == pytest.approx(line + [lr * factor(i) for i in range(epochs * steps)])


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("name", KINDS)
def test_groups_keep_the_proportion_of_their_rates_under_every_schedule(name, warmup):
    kind = SCHEDULES.get(name)
    params = kind.Params.model_validate({"kind": name, **formula(name, 4, 5)[0], "warmup": warmup})
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.4, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=1)

    for first, second in rates_of(optimizer, kind, params, epochs=5 + warmup, steps=4):
        assert first == pytest.approx(4 * second)


@pytest.mark.parametrize(("epochs", "cycles"), [(6, 1), (6, 2), (8, 4), (3, 3)])
def test_cosine_cycles_of_equal_length_are_those_of_torch_with_warm_restarts(epochs, cycles):
    # given
    steps, lr = 5, 0.3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    torchs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=epochs * steps // cycles, eta_min=0.02 * lr
    )
    expected = []
    for _ in range(epochs * steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torchs.step()

    # when
    found = rates(Cosine, CosineParams(cycles=cycles, end=0.02), lr=lr, epochs=epochs, steps=steps)

    # then
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epochs", "cycles", "ends"), [(6, 2, [3, 6]), (7, 3, [2, 4, 7]), (20, 3, [6, 13, 20]), (3, 3, [1, 2, 3])]
)
def test_cycles_of_unequal_length_end_with_whole_epochs_and_all_reach_the_lowest_rate(epochs, cycles, ends):
    steps = 10
    found = rates(Cosine, CosineParams(cycles=cycles), lr=1, epochs=epochs, steps=steps)

    assert cycle_ends(epochs, cycles) == ends
    jumps = [i for i in range(1, len(found)) if found[i] > found[i - 1]]
    assert jumps == [end * steps for end in ends[:-1]]
    assert all(found[i] == 1 for i in [0, *jumps])
    assert all(found[end * steps - 1] < 0.03 for end in ends)


def test_a_plateau_falls_after_more_than_patience_epochs_without_improvement():
    # given: losses that fall, stand still for three epochs, fall again, and stand still
    losses = [1.0, 0.8, 0.8, 0.9, 0.79999, 0.7, 0.7, 0.7, 0.7, 0.7]
    params = PlateauParams(patience=2, factor=0.5)

    # when
    found = rates(Plateau, params, lr=1, epochs=10, steps=2, figures=[{"valid_loss": loss} for loss in losses])

    # then: a relative improvement below 1e-4 is none
    assert found[::2] == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert found[1::2] == found[::2]


def test_a_plateau_of_an_accuracy_falls_when_it_does_not_rise_and_never_below_the_least_rate():
    figures = [{"valid_accuracy": share, "valid_loss": -epoch} for epoch, share in enumerate([0.5, 0.6] + [0.6] * 6)]
    params = PlateauParams(metric="valid_accuracy", patience=0, factor=0.1, least=0.005)

    found = rates(Plateau, params, lr=1, epochs=8, steps=1, figures=figures)

    assert found == pytest.approx([1, 1, 1, 0.1, 0.01, 0.005, 0.005, 0.005])


def test_warm_up_epochs_do_not_set_the_reference_of_a_plateau():
    figures = [{"valid_loss": loss} for loss in (0.1, 0.2, 5.0, 4.0, 3.0, 2.0)]

    found = rates(
        Plateau, PlateauParams(patience=0, warmup=2, warmup_start=0.5), lr=1, epochs=6, steps=1, figures=figures
    )

    assert found == pytest.approx([0.5, 0.75, 1, 1, 1, 1])


def test_a_network_that_was_saved_with_a_schedule_that_is_now_refused_can_be_loaded(tmp_path):
    # given: a header from before the rule that a step has to come before the end
    data = tiny_data()
    params = NetParams.model_validate({"arch": {"kind": "mlp", "hidden": [8]}, "epochs": 1})
    net = Net(params, signature=data.signature, n_classes=data.n_classes).fit(data, data, PlainRun())
    net.save(tmp_path)
    (header,) = [path for path in tmp_path.glob("*.json") if '"params"' in path.read_text()]
    content = json.loads(header.read_text())
    content["params"]["schedule"] = {"kind": "step", "every": 10, "factor": 0.1}
    header.write_text(json.dumps(content))

    # when, then
    assert (Net.load(tmp_path).predict_proba(data.x) == net.predict_proba(data.x)).all()


@pytest.mark.parametrize("nesterov", [False, True])
def test_three_steps_of_sgd_equal_a_manual_calculation(nesterov):
    # given: the loss w ** 2 / 2, whose gradient is w
    lr, momentum, decay = 0.1, 0.9, 0.2
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    params = SgdParams(momentum=momentum, nesterov=nesterov)
    optimizer = Sgd.build(params, [weight], lr=lr, weight_decay=decay)

    # when
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        (weight**2 / 2).sum().backward()
        optimizer.step()
        found.append(weight.item())

    # then: v is the decaying sum of gradients, the weight decay among them
    w, v, expected = 2.0, 0.0, []
    for _ in range(3):
        g = w + decay * w
        v = momentum * v + g
        w -= lr * (g + momentum * v if nesterov else v)
        expected.append(w)
    assert found == pytest.approx(expected)
    if not nesterov:
        assert found[:2] == pytest.approx([2 - 0.24, 2 - 0.24 - (0.9 * 0.24 + 0.12 * 1.76)])
