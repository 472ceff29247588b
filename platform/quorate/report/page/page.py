"""Render a finished run as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from quorate import __version__
from quorate.report.page.run import RunData
from quorate.report.page.section import Section, signed
from quorate.report.page.sections import (
    backbones,
    calibration,
    confusion,
    cost,
    curves,
    diversity,
    leaderboard,
    mistakes,
    repeat,
    summary,
    timeline,
    uncertainty,
    value,
)
from quorate.report.page.svg import clip
from quorate.report.page.values import Values, values_of

_FILES = Path(__file__).parent / "templates"
_CODE = re.compile(r"`([^`]+)`")


def page(run: RunData, values: Values | None = None) -> str:
    """The content of the HTML file. The value of the members is computed here unless `values` is given."""
    sections = list(sections_of(run, values or values_of(run)))
    style, script = (_text(name) for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            run=run,
            sections=sections,
            to_do=[(section, remark) for section in sections for remark in section.remarks if remark.tone == "act"],
            style=Markup(style),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704
            policy=_policy(style, script),
            version=__version__,
        )
    )


def sections_of(run: RunData, values: Values) -> Iterator[Section]:
    """The sections that have content for this run, in their order."""
    made = (
        summary.section(run, values),
        leaderboard.section(run),
        backbones.section(run),
        curves.section(run),
        calibration.section(run),
        confusion.section(run),
        diversity.section(run),
        value.section(run, values),
        cost.section(run, values),
        uncertainty.section(run),
        mistakes.section(run),
        timeline.section(run),
        repeat.section(run),
    )
    yield from (section for section in made if section is not None)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = _fixed
    environment.filters["percent"] = _percent
    environment.filters["clip"] = clip
    environment.filters["marked"] = _marked
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.globals["tones"] = {"good": "Good", "note": "Note", "act": "To do"}
    return environment


def _fixed(value: float | None, digits: int = 4, sign: bool = False) -> str:
    if value is None:
        return "–"
    return signed(value, digits) if sign else f"{value:.{digits}f}"


def _marked(sentence: str) -> Markup:
    """Escape a sentence, and mark up its parts in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 - escaped before


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def _text(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy that loads nothing and allows only this script and this style sheet."""
    own = {"style-src": style, "script-src": script}
    allowed = [f"{name} '{_digest(content)}'" for name, content in own.items()]
    return "; ".join(["default-src 'none'", "img-src data:", *allowed, "base-uri 'none'", "form-action 'none'"])


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
