"""Batches: their size, their order, their failures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from quorate.serving.batcher import Batcher, QueueFull
from quorate.serving.errors import ModelFailed, ModelUnavailable
from quorate.serving.model import Scores


@dataclass(eq=False)
class Doubler:
    """A model whose probabilities are twice its pixels; it notes the first pixels of each call."""

    seconds: float = 0.0
    calls: list[list[int]] = field(default_factory=list)
    asked_members: list[bool] = field(default_factory=list)
    busiest: int = 0
    busy: int = 0
    error: type[Exception] = ModelFailed

    async def __call__(self, rows: np.ndarray, members: bool) -> Scores:
        self.calls.append(rows[:, 0].tolist())
        self.asked_members.append(members)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(self.seconds)
        self.busy -= 1
        if (rows == 13).any():
            raise self.error("thirteen")
        proba = rows.astype(np.float64) * 2
        return Scores(proba, {"one": proba + 1} if members else {})


def rows(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)[:, None]


@dataclass
class Shared:
    """A batcher with a model that requests go to unless they name another."""

    model: Doubler
    batches: Batcher

    async def submit(self, rows: np.ndarray, *, members: bool = False, model: Doubler | None = None) -> Scores:
        return await self.batches.submit(rows, call=model or self.model, members=members)


def batcher(model: Doubler, **options: float) -> Shared:
    bounds = {"max_rows": 4, "wait_s": 0.01, "max_queued_rows": 100, **options}
    return Shared(model, Batcher(**bounds))  # type: ignore[arg-type]


def test_requests_that_come_together_share_a_call_and_get_their_own_rows() -> None:
    async def run() -> tuple[Doubler, list[Scores]]:
        model = Doubler()
        shared = batcher(model)
        return model, await asyncio.gather(*(shared.submit(rows(i, i + 10)) for i in range(2)))

    model, scores = asyncio.run(run())

    assert model.calls == [[0, 10, 1, 11]]
    assert [each.proba.ravel().tolist() for each in scores] == [[0, 20], [2, 22]]


def test_no_batch_has_more_rows_than_allowed_and_order_is_kept() -> None:
    async def run() -> Doubler:
        model = Doubler()
        shared = batcher(model)
        await asyncio.gather(*(shared.submit(rows(*range(i, i + 3))) for i in (0, 3, 6, 20)))
        return model

    model = asyncio.run(run())

    assert model.calls == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [20, 21, 22]]


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    async def run() -> Doubler:
        model = Doubler()
        shared = batcher(model)
        await asyncio.gather(shared.submit(rows(1)), shared.submit(rows(*range(20, 30))), shared.submit(rows(2)))
        return model

    assert asyncio.run(run()).calls == [[1], list(range(20, 30)), [2]]


def test_a_single_request_waits_at_most_the_batching_time() -> None:
    async def run() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        shared = batcher(Doubler(), wait_s=0.05)
        start = loop.time()
        await shared.submit(rows(1))
        alone = loop.time() - start
        start = loop.time()
        await asyncio.gather(*(shared.submit(rows(i)) for i in range(4)))
        return alone, loop.time() - start

    alone, full = asyncio.run(run())

    assert 0.04 < alone < 1
    assert full < 0.04


def test_requests_accumulate_while_the_model_is_busy() -> None:
    async def run() -> Doubler:
        model = Doubler(seconds=0.05)
        shared = batcher(model, wait_s=0, max_rows=100)
        first = asyncio.create_task(shared.submit(rows(1)))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, *(shared.submit(rows(i)) for i in range(2, 12)))
        return model

    model = asyncio.run(run())

    assert model.calls == [[1], list(range(2, 12))]
    assert model.busiest == 1


def test_concurrency_bounds_the_calls_in_flight() -> None:
    async def run() -> Doubler:
        model = Doubler(seconds=0.01)
        shared = batcher(model, max_rows=1, concurrency=3)
        await asyncio.gather(*(shared.submit(rows(i)) for i in range(12)))
        return model

    model = asyncio.run(run())

    assert model.busiest == 3
    assert sorted(first for (first,) in model.calls) == list(range(12))


def test_the_probabilities_of_members_go_only_to_requests_that_want_them() -> None:
    async def run() -> tuple[Doubler, list[Scores]]:
        model = Doubler()
        shared = batcher(model)
        return model, await asyncio.gather(shared.submit(rows(1), members=True), shared.submit(rows(2), members=False))

    model, (asked, other) = asyncio.run(run())

    assert model.asked_members == [True]
    assert asked.members["one"].tolist() == [[3.0]]
    assert other.members == {}


def test_a_request_whose_rows_fail_the_call_fails_alone_and_the_others_are_answered() -> None:
    async def run() -> tuple[Doubler, list[Scores | BaseException]]:
        model = Doubler()
        shared = batcher(model, max_rows=8)
        values = (1, 2, 3, 4, 5, 13, 7, 8)
        return model, await asyncio.gather(*(shared.submit(rows(i)) for i in values), return_exceptions=True)

    model, answers = asyncio.run(run())

    assert isinstance(answers[5], ModelFailed)
    assert [answer.proba.item() for answer in answers if isinstance(answer, Scores)] == [2, 4, 6, 8, 10, 14, 16]
    # in halves: one call for all, two for each of the three levels below
    assert len(model.calls) == 7


def test_an_unavailable_model_is_not_called_again_for_each_request() -> None:
    async def run() -> tuple[Doubler, list[Scores | BaseException]]:
        model = Doubler(error=ModelUnavailable)
        shared = batcher(model)
        return model, await asyncio.gather(*(shared.submit(rows(i)) for i in (1, 13)), return_exceptions=True)

    model, answers = asyncio.run(run())

    assert model.calls == [[1, 13]]
    assert all(isinstance(answer, ModelUnavailable) for answer in answers)


def test_a_batch_never_holds_requests_for_two_models() -> None:
    async def run() -> tuple[Doubler, Doubler, list[Scores]]:
        old, new = Doubler(), Doubler()
        shared = batcher(old, max_rows=8)
        models = (old, old, new, new, old)
        return old, new, await asyncio.gather(*(shared.submit(rows(i), model=each) for i, each in enumerate(models)))

    old, new, scores = asyncio.run(run())

    assert (old.calls, new.calls) == ([[0, 1], [4]], [[2, 3]])
    assert [each.proba.item() for each in scores] == [0, 2, 4, 6, 8]


def test_a_cancelled_request_is_not_sent() -> None:
    async def run() -> Doubler:
        model = Doubler(seconds=0.05)
        shared = batcher(model, wait_s=0)
        first = asyncio.create_task(shared.submit(rows(1)))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(shared.submit(rows(2)))
        last = asyncio.create_task(shared.submit(rows(3)))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(first, last)
        return model

    assert asyncio.run(run()).calls == [[1], [3]]


def test_a_full_queue_rejects_requests_until_it_is_empty() -> None:
    async def run() -> Scores:
        shared = batcher(Doubler(seconds=0.02), wait_s=0, max_queued_rows=4)
        first = asyncio.create_task(shared.submit(rows(1)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(shared.submit(rows(1, 2, 3)))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="3 rows are waiting, and the maximum is 4"):
            await shared.submit(rows(4, 5))
        await asyncio.gather(first, second)
        return await shared.submit(rows(4, 5))

    assert asyncio.run(run()).proba.ravel().tolist() == [8, 10]
