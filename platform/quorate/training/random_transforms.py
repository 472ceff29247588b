"""Random transforms of torchvision on uint8 batches, drawn anew for every few images from a seeded generator."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import torch

ROWS = 4
"""Images that share one draw: a transform of torchvision draws once per call, and one call per image is slow. An
assumption, not a measurement."""

_LOCK = threading.Lock()
"""The transforms draw from torch's one global stream, and a service predicts in several threads."""

Transform = Callable[[torch.Tensor], torch.Tensor]


def drawn(
    transform: Transform, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
) -> torch.Tensor:
    """Apply `transform`, which takes (n, C, H, W) and draws from torch's own stream, to uint8 (n, H, W, C).

    With `shared`, the number of a pass, all images get the same draw.
    """
    images = pixels.permute(0, 3, 1, 2)
    groups = (images,) if shared is not None else images.split(ROWS)
    with seeded(generator):
        return torch.cat([transform(group) for group in groups]).permute(0, 2, 3, 1)


@contextlib.contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's CPU stream with a number from `generator`, and restore the stream at the end."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
