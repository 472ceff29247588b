"""The contracts of architectures and augmentations, with the defaults of their optional abilities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit


@dataclass(frozen=True)
class HubWeights:
    """Pretrained weights on a hub."""

    url: str
    """The address of the file, or of the folder that contains it."""
    cache: Path
    """The folder of this machine that holds what was downloaded."""
    cached: Path | None
    """The file in it; None if it was not downloaded yet."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @classmethod
    def of_file(cls, url: str, cache: Path) -> HubWeights:
        """A file that is kept in `cache` under its own name."""
        file = cache / Path(urlsplit(url).path).name
        return cls(url, cache, file if file.is_file() else None)


class Architecture:
    """A kind of network: `build(params, *, shape, n_classes, dropout)` returns a `torch.nn.Module`.

    The network maps rows to logits (n, K). In training mode it may return the logits (n, k, K) of k predictions per
    row: each of them is trained, and in evaluation mode it returns the logarithm (n, K) of their mean.
    """

    convolutional: ClassVar[bool] = False
    """Whether channels-last memory and bfloat16 suit it."""
    takes: ClassVar[Collection[str]] = frozenset({"image"})
    """The kinds of signature that it accepts: `image`, `table`."""
    loads_weights: ClassVar[bool] = False
    """Whether it has `pretrained(params, *, shape, n_classes, dropout, weights)`, which adapts weights to the data."""

    @staticmethod
    def names() -> Sequence[str]:
        """Names of the members of a family, for a kind that is registered as a family, such as `timm/`."""
        return ()

    @staticmethod
    def bins(params: Any) -> int:
        """Return the maximum number of bins per number of a table, whose edges are then in `TableShape.edges`; 0 if the
        network uses no bins."""
        return 0

    @staticmethod
    def hub_weights(params: Any) -> HubWeights | None:
        """Where a hub has weights for these parameters; None if that is not known. Nobody is asked."""
        return None

    @staticmethod
    def trained_side(params: Any) -> int | None:
        """The side in pixels of the images that pretrained weights were trained on; None if that is not known."""
        return None


class Augmentation:
    """A kind of augmentation: `apply(params, pixels, generator, *, shared)` varies a batch of uint8 images."""

    mixes: ClassVar[bool] = False
    """Whether it mixes rows with each other, and so their labels too."""

    @staticmethod
    def probability(params: Any) -> float:
        """Return the fraction of the batches that are mixed; only called if `mixes` is true."""
        return 1.0

    @staticmethod
    def check(params: Any, shape: tuple[int, int, int]) -> None:
        """Raise `ValueError` if it cannot be applied to images of shape (H, W, C)."""
