"""Charts as inline SVG: pure functions from numbers to text.

Marks have CSS classes and no colours. The style sheet of the page colours them, also in dark mode and in print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

Points = Iterable[tuple[float, float]]
Anchor = Literal["start", "middle", "end"]

LETTER = 6.8
"""Approximate width of a letter of a label, in units of the drawing. An assumption, not a measurement."""


@dataclass(frozen=True)
class Scale:
    """Map numbers from `low` to `high` to positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, self.low)), math.log(low), math.log(high)
        share = (value - low) / (high - low)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round numbers within the scale."""
        return _powers(self.low, self.high, count) if self.log else _steps(self.low, self.high, count)


def _steps(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _powers(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) >= min(count - 2, 3):
            break
    return found[:: math.ceil(len(found) / (2 * count))] if found else [low, high]


def span(values: Iterable[float], *, zero: bool = False, room: float = 0.06) -> tuple[float, float]:
    """The smallest and the largest finite number with some room around them; with `zero`, the range starts at 0."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low = min(low, 0.0) if zero else low
    wide = (high - low) or abs(high) or 1.0
    return (low if zero and low == 0 else low - room * wide), high + room * wide


def log_span(values: Iterable[float]) -> tuple[float, float]:
    """Like `span`, for positive numbers on a logarithmic scale."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    low, high = (min(known), max(known)) if known else (0.1, 1.0)
    room = max((high / low) ** 0.08, 1.15)
    return low / room, high * room


@dataclass(frozen=True)
class Axes:
    """A drawing of `width` x `height` with two scales inside its margins and their labels."""

    x: Scale
    y: Scale
    width: float
    height: float
    x_label: str = ""
    y_label: str = ""
    percent: str = ""
    """The axes (`x`, `y` or `xy`) whose ticks are percentages."""

    @classmethod
    def of(
        cls,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        width: float = 380,
        height: float = 260,
        x_label: str = "",
        y_label: str = "",
        log: str = "",
        percent: str = "",
        bottom: float = 42,
    ) -> Axes:
        """Create the axes; `log` is `x`, `y` or `xy` for logarithmic scales, in the format of `percent`."""
        across = Scale(*x, 46, width - 14, "x" in log)
        up = Scale(*y, height - bottom, 26, "y" in log)
        return cls(across, up, width, height, x_label, y_label, percent)

    def frame(self, *, whole: str = "", ticks: str = "xy", x_count: int = 5) -> str:
        """Draw grid, ticks and axis labels. `ticks` and `whole` name axes (`x`, `y` or `xy`): those with ticks, and
        those whose ticks are integers."""
        left, right, low, high = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for value, said in self._labelled_ticks(self.y, "y", whole, 5):
            place = self.y(value)
            parts.append(rule(left, place, right, place, "grid"))
            parts.append(text(left - 6, place + 3.5, said, "tick", "end"))
        for value, said in self._labelled_ticks(self.x, "x", whole, x_count) if "x" in ticks else ():
            place = self.x(value)
            parts.append(rule(place, low, place, low + 4, "axis"))
            parts.append(text(place, low + 16, said, "tick", "middle"))
        parts.append(rule(left, low, right, low, "axis"))
        if self.y_label:
            parts.append(text(4, high - 12, self.y_label, "label", "start"))
        if self.x_label:
            parts.append(text((left + right) / 2, low + 33, self.x_label, "label", "middle"))
        return "".join(parts)

    def line(self, points: Points, style: str, title: str = "") -> str:
        """A line through the finite points, with a gap where a point is missing."""
        runs = [run for run in _runs(points) if len(run) > 1]
        return "".join(polyline(((self.x(x), self.y(y)) for x, y in run), style, title) for run in runs)

    def steps(self, points: Sequence[tuple[float, float]], style: str) -> str:
        """A step line: each value applies from the previous point on."""
        stairs: list[tuple[float, float]] = []
        for x, y in points:
            if stairs:
                stairs.append((stairs[-1][0], y))
            stairs.append((x, y))
        return self.line(stairs, style)

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 4) -> str:
        return (
            f'<circle class="dot {style}" cx="{n(self.x(x))}" cy="{n(self.y(y))}" r="{n(radius)}">'
            f"{_title(title)}</circle>"
        )

    def whisker(self, x: float, low: float, high: float, style: str) -> str:
        """A vertical line from `low` to `high` at `x`, with end marks."""
        place, bottom, top = self.x(x), self.y(low), self.y(high)
        feet = "".join(rule(place - 3, end, place + 3, end, f"whisker {style}") for end in (bottom, top))
        return rule(place, bottom, place, top, f"whisker {style}") + feet

    def bar(self, left: float, right: float, high: float, style: str, title: str = "", low: float | None = None) -> str:
        """A bar from `low`, by default the bottom of the axes, up to `high`."""
        foot = self.y.start if low is None else self.y(low)
        top = self.y(high)
        x, width = self.x(left), self.x(right) - self.x(left)
        return rectangle(x + 0.5, min(top, foot), max(width - 1, 0.5), abs(foot - top), f"bar {style}", title)

    def _labelled_ticks(self, scale: Scale, axis: str, whole: str, count: int) -> Iterator[tuple[float, str]]:
        ticks = scale.ticks(count)
        if axis in whole:
            ticks = sorted({float(round(value)) for value in ticks if scale.low <= round(value) <= scale.high})
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        for value in ticks:
            yield value, _written(value, step, axis in self.percent)


def drawing(width: float, height: float, label: str, *parts: str, style: str = "") -> Markup:
    """An SVG with a text description of what it shows."""
    whole = "".join(parts)
    return Markup(  # noqa: S704 - every text in it went through `escape`
        f'<svg class="{" ".join(filter(None, ("chart", style)))}" viewBox="0 0 {n(width)} {n(height)}" '
        f'width="{n(width)}" height="{n(height)}" role="img" aria-label="{escape(label)}">{whole}</svg>'
    )


def rule(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{n(x1)}" y1="{n(y1)}" x2="{n(x2)}" y2="{n(y2)}"/>'


def rectangle(x: float, y: float, width: float, height: float, style: str, title: str = "") -> str:
    return f'<rect class="{style}" x="{n(x)}" y="{n(y)}" width="{n(width)}" height="{n(height)}">{_title(title)}</rect>'


def polyline(points: Points, style: str, title: str = "") -> str:
    places = " ".join(f"{n(x)},{n(y)}" for x, y in points)
    return f'<polyline class="line {style}" points="{places}">{_title(title)}</polyline>'


def text(x: float, y: float, content: str, style: str, anchor: Anchor = "start", title: str = "") -> str:
    return f'<text class="{style}" x="{n(x)}" y="{n(y)}" text-anchor="{anchor}">{_title(title)}{escape(content)}</text>'


def names(
    axes: Axes, named: Sequence[tuple[float, float, str]], *, style: str = "name", most: int = 24
) -> Iterator[str]:
    """Labels next to points. A label that would overlap a point or an earlier label is left out."""
    taken = [(axes.x(x) - 4, axes.y(y) - 4, axes.x(x) + 4, axes.y(y) + 4) for x, y, _ in named]
    for x, y, full in named[:most]:
        label = clip(full, 22)
        width, px, py = LETTER * len(label), axes.x(x), axes.y(y)
        for left, base in (
            (px + 8, py + 4),
            (px - 8 - width, py + 4),
            (px - width / 2, py - 9),
            (px - width / 2, py + 17),
        ):
            box = (left, base - 9, left + width, base + 2)
            inside = box[0] >= axes.x.start and box[2] <= axes.width and box[1] >= 0 and box[3] <= axes.y.start
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield text(left, base, label, style, "start", full)
                break


def clip(words: str, most: int) -> str:
    """Shorten text to at most `most` characters, with an ellipsis in the middle, because names often differ at the
    end."""
    if len(words) <= most:
        return words
    end = (most - 1) // 2
    return words[: most - 1 - end].rstrip() + "…" + words[len(words) - end :].lstrip()


def n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _written(value: float, step: float, percent: bool) -> str:
    if percent:
        digits = 0 if step >= 0.00999 else 1 if step >= 0.000999 else 2
        return f"{100 * value:.{digits}f} %"
    if value and (abs(value) >= 10_000 or abs(value) < 0.0005):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:g}"


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def _runs(points: Points) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for x, y in points:
        if math.isfinite(y):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
