"""One network trained by several processes: the parts of a batch, their gradients, and what the processes exchange."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from torch import distributed, multiprocessing, nn
from torch.nn import functional

from quorate.training.averages import Swa
from quorate.training.context import Numerics, Signal
from quorate.training.data_parallel import DataParallel
from quorate.training.feed import MatrixFeed
from quorate.training.loop import LoopSettings, fit_network
from quorate.training.schedule import Schedule
from quorate.training.shared_context import SharedContext, open_channel
from quorate.training.stopping import EarlyStopping
from quorate.training.synced_normalization import synced_batch_norm

ROWS, FEATURES, CLASSES = 75, 6, 3
NUMERICS = Numerics(batch_size=16)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [16, 19, 5, 2])
def test_the_mean_of_the_workers_gradients_is_the_gradient_of_the_whole_batch(workers: int, size: int) -> None:
    # given
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(40, FEATURES, generator=generator), torch.randint(CLASSES, (40,), generator=generator)
    network, batch = nn.Linear(FEATURES, CLASSES), torch.randperm(40, generator=generator)[:size]
    (expected,) = torch.autograd.grad(functional.cross_entropy(network(x[batch]), y[batch]), network.weight)

    # when: averaged by hand
    parts = [DataParallel(rank, workers).part(batch) for rank in range(workers)]
    losses = [part.factor * functional.cross_entropy(network(x[part.rows]), y[part.rows]) for part in parts]
    gradients = [torch.autograd.grad(loss, network.weight)[0] for loss in losses]

    # then
    torch.testing.assert_close(torch.stack(gradients).mean(0), expected, rtol=0, atol=1e-6)
    counted = [
        int(row) for rank, part in enumerate(parts) if DataParallel(rank, workers).counts(part) for row in part.rows
    ]
    assert sorted(counted) == sorted(batch.tolist())
    assert all(len(part.rows) >= 2 for part in parts)


def test_all_workers_get_the_answer_of_the_first_and_take_part_in_its_state() -> None:
    # given: a channel from the first worker to the other
    words: queue.Queue[int] = queue.Queue()
    made: list[str] = []
    answers = [Signal.CONTINUE, Signal.CHECKPOINT, Signal.STOP]
    plain = PlainRun(answers={2: Signal.CHECKPOINT, 3: Signal.STOP})

    def speak(number: int) -> int:
        words.put(number)
        return number

    first = SharedContext(plain, rank=0, channel=speak)
    other = SharedContext(PlainRun(), rank=1, channel=lambda number: words.get(timeout=5))

    def state(name: str) -> Callable[[], dict[str, Any]]:
        return lambda: made.append(name) or {}  # type: ignore[func-returns-value]

    # when
    found: list[Signal] = []
    thread = threading.Thread(target=lambda: found.extend(other.report(None, state("other")) for _ in answers))
    thread.start()
    told = [first.report(None, state("first")) for _ in answers]
    thread.join()

    # then
    assert told == found == answers
    assert sorted(made) == ["first", "first", "other", "other"]
    assert words.empty()


class Case:
    """One training of a small network on seeded rows; the same in each process that runs it."""

    def __init__(self, *, norm: bool = False, dropout: float = 0.0, unfreezes: bool = False, **recipe: Any) -> None:
        self.norm, self.dropout, self.unfreezes, self.recipe = norm, dropout, unfreezes, recipe

    def network(self) -> nn.Sequential:
        torch.manual_seed(7)
        norm = nn.BatchNorm1d(8) if self.norm else nn.Identity()
        return nn.Sequential(nn.Linear(FEATURES, 8), norm, nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(8, CLASSES))

    def fit(self, run: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, float]], dict[str, Any]]:
        """Weights, history, and the other weights."""
        random = np.random.default_rng(5)
        x, y = random.normal(size=(2 * ROWS, FEATURES)), random.integers(CLASSES, size=2 * ROWS)
        x = x + y[:, None]
        feeds = [
            (MatrixFeed(x[part].astype(np.float32), numerics=NUMERICS), torch.from_numpy(y[part]))
            for part in (slice(ROWS), slice(ROWS, None))
        ]
        network = self.network()
        given = {"epochs": 3} | self.recipe
        if self.unfreezes:  # the first layer, after the first epoch
            given["prepare"] = lambda epoch: network[0].requires_grad_(epoch > 0)
        recipe = LoopSettings(
            optimizer=lambda network: torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
            schedule=lambda optimizer, epochs, steps: constant(optimizer),
            **given,
        )
        found = fit_network(network, train=feeds[0], valid=feeds[1], n_classes=CLASSES, recipe=recipe, context=run)
        return network.state_dict(), found.history, found.others()


def constant(optimizer: torch.optim.Optimizer) -> Schedule:
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


CASES = {
    "plain": Case(),
    "accumulated": Case(accumulate=2),
    "averages": Case(ema=0.9, swa=Swa(start=0.3)),
    "early stopping": Case(epochs=12, early_stopping=EarlyStopping(patience=1)),
    "calibrated stopping": Case(early_stopping=EarlyStopping(metric="calibrated_loss", patience=3)),
    "weighted and smoothed": Case(weight=torch.linspace(0.5, 1.5, ROWS), label_smoothing=0.1),
    "unfreezing": Case(unfreezes=True),
    "normalized together": Case(norm=True, sync_batchnorm=True),
    "normalized apart": Case(norm=True),
    "dropout": Case(dropout=0.5),
}


def train_all(rank: int, workers: int, folder: Path) -> None:
    """One of `workers` processes: run each case, and the case with dropout again from its checkpoint."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=workers)
    channel = open_channel()
    results: dict[str, Any] = {}
    for name, case in CASES.items():
        results[name] = case.fit(SharedContext(PlainRun(numerics=NUMERICS), rank=rank, channel=channel))
    stopped = PlainRun(numerics=NUMERICS, answers={7: Signal.STOP})  # in the middle of the second epoch
    CASES["dropout"].fit(SharedContext(stopped, rank=rank, channel=channel))
    (folder / f"state{rank}").write_bytes(stopped.kept.get(7, b""))
    distributed.barrier()
    stopped.kept[7] = (folder / "state0").read_bytes()  # the state of the first worker is enough
    results["resumed"] = CASES["dropout"].fit(SharedContext(stopped.resumed(7), rank=rank, channel=channel))
    torch.save(results, folder / f"result{rank}")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has trained, by case."""
    folder = tmp_path_factory.mktemp("pair")
    multiprocessing.spawn(train_all, (2, folder), nprocs=2)
    return [torch.load(folder / f"result{rank}", weights_only=False) for rank in range(2)]


def figures(history: list[dict[str, float]]) -> list[list[float]]:
    return [[value for name, value in epoch.items() if name != "seconds"] for epoch in history]


@pytest.mark.system
@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "accumulated",
        "averages",
        "early stopping",
        "calibrated stopping",
        "weighted and smoothed",
        "unfreezing",
        "normalized together",
    ],
)
def test_two_processes_equal_one(pair: list[dict[str, Any]], name: str) -> None:
    # given
    weights, history, others = CASES[name].fit(PlainRun(numerics=NUMERICS))

    # then
    for found in pair:
        there, figured, averages = found[name]
        np.testing.assert_allclose(figures(figured), figures(history), rtol=0, atol=1e-5)
        for tensor in weights:
            torch.testing.assert_close(there[tensor], weights[tensor], rtol=0, atol=1e-5)
        assert averages.keys() == others.keys()
        for view, expected in others.items():
            for tensor in expected:
                torch.testing.assert_close(averages[view][tensor], expected[tensor], rtol=0, atol=1e-5)


@pytest.mark.system
def test_a_network_with_normalizations_equals_one_process_only_if_they_are_shared(pair: list[dict[str, Any]]) -> None:
    weights, _, _ = CASES["normalized apart"].fit(PlainRun(numerics=NUMERICS))
    apart = pair[0]["normalized apart"][0]
    assert max(float((apart[name] - weights[name]).abs().max()) for name in weights) > 1e-3


@pytest.mark.system
def test_a_group_that_continues_from_a_state_ends_with_the_same_bits(pair: list[dict[str, Any]]) -> None:
    for found in pair:
        (whole, history, _), (resumed, again, _) = found["dropout"], found["resumed"]
        assert figures(history) == figures(again)
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_normalization_over_one_process_is_that_of_torch() -> None:
    # given
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        generator = torch.Generator().manual_seed(1)
        x = (3 + 2 * torch.randn(5, 4, 3, 3, generator=generator)).requires_grad_()
        weight, bias = torch.rand(4, generator=generator), torch.rand(4, generator=generator)
        running = [torch.zeros(4), torch.ones(4), torch.zeros(4), torch.ones(4)]

        # when
        expected = functional.batch_norm(x, *running[:2], weight, bias, training=True, momentum=0.1, eps=1e-5)
        found = synced_batch_norm(x, *running[2:], weight, bias, momentum=0.1, eps=1e-5)

        # then
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(running[2:], running[:2], rtol=0, atol=1e-6)
        pull = torch.randn(found.shape, generator=generator)
        (before,), (after,) = (torch.autograd.grad(y, x, pull, retain_graph=True) for y in (expected, found))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    finally:
        distributed.destroy_process_group()
