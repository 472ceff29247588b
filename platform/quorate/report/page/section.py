"""The sections of the page: values for the template, charts, and remarks derived from the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

Tone = Literal["good", "note", "act"]


@dataclass(frozen=True)
class Remark:
    """One conclusion from the metrics of this run; the tone `act` marks a recommendation."""

    tone: Tone
    sentence: str


@dataclass(frozen=True)
class Chart:
    """A drawing with its caption and its legend, which consists of pairs of CSS class and text."""

    drawing: Markup
    legend: tuple[tuple[str, str], ...] = ()
    caption: str = ""
    title: str = ""
    problem: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page; `template` renders it from `values`."""

    id: str
    title: str
    intro: str
    """What the section shows and how to read it."""
    remarks: Sequence[Remark] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def template(self) -> str:
        return f"sections/{self.id}.html"


def good(sentence: str) -> Remark:
    return Remark("good", sentence)


def note(sentence: str) -> Remark:
    return Remark("note", sentence)


def act(sentence: str) -> Remark:
    return Remark("act", sentence)


def percent(value: float, digits: int = 1) -> str:
    """Format a fraction as `84.8 %`."""
    return f"{100 * value:.{digits}f} %"


def listed(words: Sequence[str], most: int = 6) -> str:
    """Join words as `a, b and c`; with more than `most` words, the first ones and the number of the others."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def many(count: int, what: str, plural: str = "") -> str:
    """Format a count with its noun, such as `1 row` or `2,000 rows`."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def signed(value: float, digits: int = 4) -> str:
    """Format a number with its sign, such as `+0.0123`; a minus is the typographic one."""
    return f"{value:+z.{digits}f}".replace("-", "−")
