"""What every part of the page is: figures for its template, charts, and remarks that follow from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

Tone = Literal["good", "note", "act"]


@dataclass(frozen=True)
class Remark:
    """One thing that the figures of this run say; `act` is something to do about it."""

    tone: Tone
    sentence: str


@dataclass(frozen=True)
class Chart:
    """A drawing with its legend (class name and words) and what stands below it."""

    drawing: Markup
    legend: tuple[tuple[str, str], ...] = ()
    caption: str = ""
    title: str = ""
    problem: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page; `template` draws it from `values`."""

    id: str
    title: str
    intro: str
    """What it shows and how it is read."""
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
    """`84.8 %`."""
    return f"{100 * value:.{digits}f} %"


def listed(words: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; of many the first, and how many more."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def many(count: int, what: str, plural: str = "") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def signed(value: float, digits: int = 4) -> str:
    """`+0.0123`, or with a true minus."""
    return f"{value:+z.{digits}f}".replace("-", "−")
