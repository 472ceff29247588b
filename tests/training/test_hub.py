"""Weights of a hub: the cache comes first, the policy decides who is asked, and a silent hub is noticed in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from tests.features import write_weights

from quorate.errors import UserError
from quorate.registry import ARCHS
from quorate.spec.hub_policy import hub_asked, hub_asked_by_command, hub_policy
from quorate.training import hub
from quorate.training.hub import HubError, from_hub, hub_problem, weights_of_hub

ARCH = ARCHS.get("timm/test_resnet").Params(kind="timm/test_resnet")
SHAPE = (32, 32, 3)


class SilentHub:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def was_asked(self, *, within: float = 0.0) -> bool:
        self._socket.settimeout(within)
        try:
            self._socket.accept()[0].close()
        except (BlockingIOError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SilentHub]:
    """The only hub there is; the cache is empty."""
    server = SilentHub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    monkeypatch.setattr(hub, "_problems", {})
    monkeypatch.delenv("QUORATE_HUB", raising=False)
    yield server
    server.close()


def keep_in_cache(folder: Path) -> Path:
    """Weights as huggingface_hub keeps what it has downloaded."""
    there = folder / "cache/models--timm--test_resnet.r160_in1k"
    (there / "refs").mkdir(parents=True)
    (there / "refs/main").write_text("abc")
    (there / "snapshots/abc").mkdir(parents=True)
    return write_weights(there / "snapshots/abc/model.safetensors", seed=3)


def test_a_silent_hub_is_an_error_with_the_fix_after_the_time_limit(silent: SilentHub) -> None:
    began = time.monotonic()

    with pytest.raises(HubError) as refused:
        from_hub(ARCH, shape=SHAPE, n_classes=2, dropout=0.0)

    assert time.monotonic() - began < 5
    assert f"{silent.url.removeprefix('http://')} " in str(refused.value)
    assert "the weights of timm/test_resnet are not in the cache of this machine" in str(refused.value)
    assert "name the file in weights, or set HF_ENDPOINT to a mirror" in str(refused.value)
    assert silent.was_asked()


def test_a_silent_hub_is_asked_once_for_all_networks_and_again_after_a_pause(
    silent: SilentHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_problem(f"{silent.url}/one") == "does not answer"
    assert silent.was_asked(within=5)

    assert hub_problem(f"{silent.url}/another") == "does not answer"
    assert not silent.was_asked()

    monkeypatch.setattr(hub, "_PAUSE_SECONDS", 0.0)
    assert hub_problem(f"{silent.url}/one") == "does not answer"
    assert silent.was_asked(within=5)


def test_the_time_limit_leaves_two_seconds_of_ten_for_the_rest() -> None:
    assert hub.SECONDS <= 8


def test_weights_in_the_cache_are_used_without_asking_anybody(silent: SilentHub, tmp_path: Path) -> None:
    file = keep_in_cache(tmp_path)

    network = from_hub(ARCH, shape=SHAPE, n_classes=0, dropout=0.0)

    assert not silent.was_asked()
    saved = load_file(file)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in network.state_dict().items())
    found = weights_of_hub(ARCH)
    assert found is not None and found.cached == file


@pytest.mark.parametrize("policy", ["never", "fit-only"])
def test_nobody_is_asked_where_the_policy_forbids_it(silent: SilentHub, policy: str) -> None:
    with hub_asked_by_command(policy), pytest.raises(HubError, match="--hub or QUORATE_HUB forbids asking"):
        from_hub(ARCH, shape=SHAPE, n_classes=2, dropout=0.0)

    assert not silent.was_asked()


def test_a_job_may_ask_under_fit_only(silent: SilentHub) -> None:
    with hub_asked("fit-only"), pytest.raises(HubError):
        from_hub(ARCH, shape=SHAPE, n_classes=2, dropout=0.0)

    assert silent.was_asked()


def test_an_address_that_refuses_connections_is_named_at_once(silent: SilentHub) -> None:
    silent.close()

    assert "cannot be reached" in hub_problem(silent.url)


def test_the_policy_comes_from_the_variable_and_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_HUB", "never")

    with hub_asked("allow"):
        assert hub_policy() == "allow"

    assert hub_policy() == "never"
    monkeypatch.setenv("QUORATE_HUB", "maybe")
    with pytest.raises(UserError, match="QUORATE_HUB is 'maybe'; choose never, allow, fit-only"):
        hub_policy()
