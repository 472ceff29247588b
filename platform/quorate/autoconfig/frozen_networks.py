"""Choose the frozen networks whose features a job computes, and the sizes of their images, within a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quorate.autoconfig.backbone_sample import SampledBackbone

SIDES = (160, 128, 96, 64)
"""Sides of smaller images, in pixels, that are tried if there is no time for the side that a network was trained on.
Assumptions, not measurements."""


@dataclass(frozen=True)
class FrozenNetwork:
    """A network whose features members use, for images with sides of `side` pixels."""

    sampled: SampledBackbone
    side: int

    @property
    def seconds(self) -> float:
        """Seconds of one core per image."""
        return self.sampled.seconds_at(self.side)

    @property
    def features(self) -> dict[str, Any]:
        """The key `features` of a member."""
        backbone = self.sampled.found.backbone
        return {"arch": backbone.arch, "weights": str(backbone.weights), "size": self.side}


def frozen_networks(
    ranked: Sequence[SampledBackbone], *, images: int, core_seconds: float
) -> tuple[FrozenNetwork, ...]:
    """The networks whose features of `images` images take at most `core_seconds` together, the best first.

    The best networks get the side that they were trained on, also where the images are smaller: frozen features are
    worse on other sides (docs/backbones.md). If no network fits, the quickest one is used.
    """
    chosen, left = [], core_seconds
    for one in ranked:
        for network in _forms(one):
            if network.seconds * images <= left:
                chosen.append(network)
                left -= network.seconds * images
                break
    if chosen:
        return tuple(chosen)
    return (min((_forms(one)[-1] for one in ranked), key=lambda network: network.seconds),)


def _forms(one: SampledBackbone) -> list[FrozenNetwork]:
    """A network with each side, the largest first."""
    if one.found.backbone.size is not None:
        return [FrozenNetwork(one, one.found.backbone.size)]
    full = one.trained_side or one.side
    return [FrozenNetwork(one, side) for side in (full, *(side for side in SIDES if side < full))]
