"""Training states survive a round trip through bytes, and other bytes are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quorate.training.schedules import OneCycle, OneCycleParams
from quorate.training.state import StateError, pack_state, unpack_state


def check_equal(found, expected) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and torch.equal(found, expected)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            check_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other)
    else:
        assert found == expected


TREE = {
    "plain": [1, -2.5, "text", True, None, math.inf, 2**62, 1e-300],
    "tuples": ((0.9, 0.999), ()),
    "integer keys": {0: "a", 7: {"deep": (1, [2])}},
    "reserved keys": {"__tensor__": "0", "__pairs__": [1], "__tuple__": 3},
    "empty": {"dict": {}, "list": []},
    "tensors": {
        "scalar": torch.tensor(3),
        "half": torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
        "bytes": torch.arange(8, dtype=torch.uint8),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "none": torch.empty(0, 3),
    },
    "arrays": [np.arange(4, dtype=np.int64), np.float32([[1.5]])],
}


def test_a_state_tree_survives_a_round_trip():
    check_equal(unpack_state(pack_state(TREE)), TREE)


def test_a_tensor_under_two_names_is_restored_twice():
    shared = torch.arange(4.0)

    found = unpack_state(pack_state({"a": shared, "b": shared[:2]}))

    check_equal(found, {"a": shared, "b": shared[:2].clone()})


def test_a_tensor_that_requires_gradients_is_restored_as_plain_values():
    found = unpack_state(pack_state({"w": torch.nn.Parameter(torch.ones(2))}))

    assert not found["w"].requires_grad and torch.equal(found["w"], torch.ones(2))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_an_optimizer_and_its_schedule_resume_from_packed_states(kind):
    # given: two steps
    def make():
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        optimizer = kind(network.parameters(), lr=0.1, **options)
        return network, optimizer, OneCycle.build(OneCycleParams(), optimizer, epochs=4, steps=5)

    def step(network, optimizer, schedule) -> None:
        optimizer.zero_grad()
        network(torch.arange(6.0).reshape(2, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()

    first = make()
    for _ in range(7):
        step(*first)

    # when
    states = unpack_state(pack_state({str(i): part.state_dict() for i, part in enumerate(first)}))
    second = make()
    for i, part in enumerate(second):
        part.load_state_dict(states[str(i)])
    for parts in (first, second):
        for _ in range(5):
            step(*parts)

    # then
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(second[0].state_dict()[name], tensor)
    assert second[2].get_last_lr() == first[2].get_last_lr()


def test_values_that_are_not_plain_data_are_refused_when_packed():
    with pytest.raises(TypeError, match="a training state cannot hold Linear"):
        pack_state({"network": torch.nn.Linear(1, 1)})


@pytest.mark.parametrize("length", [0, 4, 8, 20, -1, -30])
def test_a_truncated_state_is_refused(length):
    with pytest.raises(StateError, match="not a training state"):
        unpack_state(pack_state(TREE)[:length])


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x80\x04]." + b"\0" * 16, b"\x02" + b"\0" * 7 + b"{}"])
def test_other_bytes_are_refused(content):
    with pytest.raises(StateError):
        unpack_state(content)
