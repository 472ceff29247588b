"""Render a search as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator

from quorate.quantities import format_seconds
from quorate.report.page.rendering import PageHead, rendered
from quorate.report.page.section import Section, many
from quorate.report.search_page import best_so_far, importance, parallel, result, slices, training, trials
from quorate.report.search_page.data import SearchData
from quorate.runs.search_record import SearchRecord


def search_page(data: SearchData) -> str:
    """The content of the HTML file."""
    record = data.record
    head = PageHead("a search", record.job, record.run, tuple(_facts(record)))
    return rendered(head, list(sections_of(data)))


def sections_of(data: SearchData) -> Iterator[Section]:
    """The sections that have content for this search, in their order."""
    made = (
        result.section(data),
        best_so_far.section(data),
        importance.section(data),
        parallel.section(data),
        slices.section(data),
        training.section(data),
        trials.section(data),
        _repeat(data),
    )
    yield from (section for section in made if section is not None)


def _repeat(data: SearchData) -> Section:
    return Section(
        "repeat",
        "How to repeat it",
        "The same command with the same seed makes the same trials in the same order. Finished work is taken from the "
        "store, so repeating the search takes seconds.",
        values={"recipe": data.recipe},
    )


def _facts(record: SearchRecord) -> Iterator[tuple[str, str]]:
    yield "Run", record.run
    yield "Member", f"{record.member} ({record.kind})"
    yield "Method", str(record.settings.get("method", ""))
    scheduler = record.settings.get("scheduler", "none")
    yield (
        "Early stopping",
        f"{scheduler}, {many(len(record.steps) - 1, 'comparison')}" if scheduler != "none" else "none",
    )
    yield "Parameters", f"{len(record.paths)}"
    yield "Trials", f"{len(record.trials):,}"
    yield "Validation", many(record.folds, "fold")
    yield "Duration", format_seconds(record.seconds)
    yield "Training", format_seconds(sum(one.seconds for one in record.trials))
    if record.ended:
        yield "Ended", record.ended
