"""Render sections as one self-contained HTML file, and write it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from quorate import __version__
from quorate.report.page.section import Section, signed
from quorate.report.page.svg import clip

_FILES = Path(__file__).parent / "templates"
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class PageHead:
    """The head of a page."""

    subject: str
    """What the page reports, such as `a run`."""
    title: str
    run: str
    facts: Sequence[tuple[str, str]]
    """Pairs of name and value."""


def rendered(head: PageHead, sections: Sequence[Section], **values: Any) -> str:
    """The content of the HTML file; templates of sections can use `values`."""
    style, script = (_text(name) for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            head=head,
            sections=sections,
            to_do=[(section, remark) for section in sections for remark in section.remarks if remark.tone == "act"],
            style=Markup(style),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704
            policy=_policy(style, script),
            version=__version__,
            **values,
        )
    )


def write_page(path: Path, text: str) -> Path:
    """Write the content of a page to `path` atomically."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


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
