"""Render a finished run as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator

from quorate.report.page.rendering import PageHead, rendered
from quorate.report.page.run import RunData
from quorate.report.page.section import Section
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
from quorate.report.page.values import Values, values_of


def page(run: RunData, values: Values | None = None) -> str:
    """The content of the HTML file. The value of the members is computed here unless `values` is given."""
    sections = list(sections_of(run, values or values_of(run)))
    return rendered(PageHead("a run", run.board.job, run.board.run, run.facts), sections, run=run)


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
