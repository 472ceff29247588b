"""Pretrained weights from a hub: look in the cache of this machine, download what is missing, identify by content."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from huggingface_hub import constants
from safetensors.torch import save
from torch import nn

from quorate.errors import UserError
from quorate.registry import ARCHS, KindParams
from quorate.spec.hub_policy import VARIABLE, hub_policy
from quorate.training.backbone import head_names
from quorate.training.contracts import HubWeights
from quorate.training.shapes import Shape

_CLASSES = 2
"""Number of classes of the network that is built to read the weights; the digest leaves out the head."""

SECONDS = 8.0
"""Time limit for the answer of a hub, so that a job that cannot begin ends within ten seconds. An assumption."""

_PAUSE_SECONDS = 60.0
"""Seconds for which the answer of a hub counts, so that several networks wait for a silent one only once. An
assumption."""
_problems: dict[str, tuple[float, str]] = {}
"""When a hub was asked, and why it could not be used, by its host."""


class HubError(UserError):
    """The hub cannot provide the weights of an architecture."""


def weights_of_hub(arch: KindParams) -> HubWeights | None:
    """Where the hub has the weights of an architecture; None if that is not known."""
    found: HubWeights | None = ARCHS.get(arch.kind).hub_weights(arch)
    return found


def from_hub(arch: KindParams, *, shape: Shape, n_classes: int, dropout: float) -> nn.Module:
    """Build a network with the weights in this machine's cache, or else with the hub's.

    The hub is asked only if the weights are not in the cache. Raises `HubError` if it may not be asked, or if it does
    not answer within `SECONDS`.
    """
    there = weights_of_hub(arch)
    cached = there is not None and there.cached is not None
    if not cached:
        _check_asking(arch, there)
    try:
        with _offline() if cached else nullcontext():
            network: nn.Module = ARCHS.get(arch.kind).pretrained(
                arch, shape=shape, n_classes=n_classes, dropout=dropout, weights=None
            )
    except Exception as error:  # each hub has its own errors for networks, caches and permissions
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise HubError(
            f"the weights of {arch.kind} cannot be loaded from the hub: {lines[0]}; "
            "download them where the hub can be reached, and name the file in weights"
        ) from error
    return network


@functools.lru_cache(maxsize=64)
def hub_digest(arch: KindParams, shape: Shape) -> str:
    """Return the SHA-256 of the hub's weights for images of `shape`, without the head; raises `HubError`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # layers without weights on the hub get the same random weights each time
        network = from_hub(arch, shape=shape, n_classes=_CLASSES, dropout=0.0)
    try:
        heads = tuple(f"{name}." for name in head_names(network))
    except ValueError:
        heads = ()
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(heads)}
    return hashlib.sha256(save({name: tensor.contiguous() for name, tensor in kept.items()})).hexdigest()


def hub_problem(url: str) -> str:
    """Why the hub at `url` cannot be used, as a clause; empty if it answers. Takes at most `SECONDS`, and no time if it
    was asked a moment ago.

    Any answer counts, also an error: the download then says what is wrong.
    """
    host = urllib.parse.urlsplit(url).netloc
    since, problem = _problems.get(host, (-math.inf, ""))
    if time.monotonic() - since > _PAUSE_SECONDS:
        problem = _asked(url)
        _problems[host] = (time.monotonic(), problem)
    return problem


def _asked(url: str) -> str:
    """Why the hub does not answer; empty if it does."""
    found = ["does not answer"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=SECONDS):  # noqa: S310
                found[0] = ""
        except urllib.error.HTTPError:
            found[0] = ""
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if not isinstance(reason, TimeoutError):
                found[0] = f"cannot be reached ({reason})"

    asking = threading.Thread(target=ask, daemon=True)  # a name server that is silent is not limited by `timeout`
    asking.start()
    asking.join(SECONDS)
    return found[0]


def _check_asking(arch: KindParams, there: HubWeights | None) -> None:
    """Raise `HubError` if the hub may not be asked for weights that are not in the cache, or does not answer."""
    fix = "download them on a machine that reaches it, and name the file in weights"
    missing = f"the weights of {arch.kind} are not in the cache of this machine" + (
        f" ({there.cache})" if there else ""
    )
    if hub_policy() == "never":
        host = there.host if there is not None else "a hub"
        raise HubError(f"{missing}, and --hub or {VARIABLE} forbids asking {host}; {fix}, or allow it: --hub allow")
    if there is not None and (problem := hub_problem(there.url)):
        raise HubError(f"{missing}, and {there.host} {problem}; {fix}, or set HF_ENDPOINT to a mirror")


@contextmanager
def _offline() -> Iterator[None]:
    """Make huggingface_hub use its cache alone; otherwise it asks whether a cached file is the newest."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
