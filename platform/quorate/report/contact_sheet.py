"""Draw a sheet of images next to augmented versions of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from quorate.data.dataset import Dataset
from quorate.training.augment import Augment
from quorate.training.augmented_samples import samples
from quorate.training.tta import Tta

mpl.use("Agg")

FORMATS = (".png", ".jpg", ".pdf", ".svg")
_CELL = 1.25
"""Size of one image on the sheet in inches."""


def contact_sheet(
    path: Path,
    data: Dataset,
    augment: Augment | Tta,
    *,
    member: str,
    rows: int = 8,
    draws: int = 6,
    size: int | None = None,
    seed: int = 0,
) -> None:
    """Draw `rows` images, taken from the classes in turn, with the original in the first column and then its augmented
    versions.

    Images are shown at `size` pixels, the input size of the network. If labels are mixed, their fractions are printed
    below the image.
    """
    drawn = samples(data, augment, rows=rows, draws=draws, size=size, seed=seed)
    names = data.class_names
    passes, steps = isinstance(augment, Tta), augment.augment if isinstance(augment, Tta) else augment
    mixed = any(shares is not None for shares in drawn.shares)
    count, width = len(drawn.y), len(drawn.columns)
    height = _CELL * drawn.columns[0].shape[1] / drawn.columns[0].shape[2] + (0.28 if mixed else 0)
    title = textwrap.fill(f"{member}: {steps}", width=int(14 * _CELL * width))
    figure = Figure(
        figsize=(_CELL * width + 0.4, height * count + 0.3 + 0.22 * (title.count("\n") + 1)),
        layout=ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01),
    )
    figure.suptitle(title, fontsize=10)
    for column, (images, shares) in enumerate(zip(drawn.columns, drawn.shares, strict=True)):
        for row, image in enumerate(images):
            axes = figure.add_subplot(count, width, row * width + column + 1)
            _show(axes, image)
            if row == 0:
                axes.set_title(
                    "original" if column == 0 else f"{'pass' if passes else 'draw'} {column + passes}", fontsize=9
                )
            if column == 0:
                axes.set_ylabel(textwrap.shorten(names[drawn.y[row]], 22, placeholder="…"), fontsize=8)
            if shares is not None:
                axes.set_xlabel(_parts(shares[row], names), fontsize=6, labelpad=1)
    figure.savefig(path, dpi=110)


def _show(axes: Axes, image: NDArray[np.float32]) -> None:
    channels = image.shape[2]
    grey = image.mean(axis=2) if channels < 3 else None
    axes.imshow(image[:, :, :3] if grey is None else grey, cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _parts(shares: NDArray[np.float32], names: Sequence[str]) -> str:
    """The fractions of a mixed image's classes, one line each, such as `62 % rose` and `38 % tulip`."""
    order = [k for k in np.argsort(-shares, kind="stable")[:2] if shares[k] >= 0.005]
    return "\n".join(f"{100 * shares[k]:.0f} % {textwrap.shorten(names[k], 22, placeholder='…')}" for k in order)
