"""Draw a learning rate range test."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from quorate.training.range_test import RangeTest, RateRange

mpl.use("Agg")

_TOO_LOW, _TOO_HIGH = "0.85", "#f4c7c3"


def range_picture(path: Path, test: RangeTest, reading: RateRange, *, title: str, own: float) -> None:
    """Draw loss against learning rate. Rates that are too low are grey, rates that are too high are red, and the
    suggestion is marked."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    finite = np.isfinite(test.losses)
    axes.plot(test.rates[finite], test.losses[finite], ".", color="0.6", markersize=4, label="one batch")
    axes.plot(test.rates, test.smoothed, color="C0", linewidth=2, label="smoothed")
    low, high = float(test.rates[0]), float(test.rates[-1]) * 1.15
    lines = [(own, "0.3", ":", f"learning rate of the job {own:.2g}")]
    if reading.suggested is not None:
        lines.append((reading.suggested, "C2", "-", f"suggested {reading.suggested:.2g}"))
    for rate, colour, style, label in lines:
        axes.axvline(rate, color=colour, linestyle=style, linewidth=1.8, label=label)
        low, high = min(low, rate), max(high, rate * 1.15)
    if reading.too_low is not None:
        axes.axvspan(low, reading.too_low, color=_TOO_LOW, label=f"too low, below {reading.too_low:.2g}")
    if reading.too_high is not None:
        axes.axvspan(reading.too_high, high, color=_TOO_HIGH, label=f"too high, from {reading.too_high:.2g}")
    if reading.least is not None:
        least = float(np.nanmin(test.smoothed))
        axes.plot(reading.least, least, "o", color="C0", markersize=7, label=f"lowest loss, at {reading.least:.2g}")
    axes.set(xscale="log", xlim=(low, high), ylim=_limits(test), xlabel="learning rate", ylabel="loss (nats)")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3, which="major")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


def _limits(test: RangeTest) -> tuple[float, float]:
    """Limits of the loss axis, chosen to show the losses before they diverge."""
    finite = test.losses[np.isfinite(test.losses)]
    if not finite.size:
        return 0.0, 1.0
    beginning = float(np.max(finite[: max(3, len(finite) // 10)]))
    low = min(0.0, float(finite.min()))
    return low, 1.6 * beginning if beginning > 0 else 1.0
