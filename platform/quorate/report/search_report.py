"""Write the report of a search as one HTML file, at the end of the search or later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quorate.report.page.rendering import write_page
from quorate.report.page.run import Reproduction
from quorate.report.pictures import recorded_curves
from quorate.report.run_report import REPORT, job_in, spec_in
from quorate.report.search_page.data import SearchData
from quorate.report.search_page.page import search_page
from quorate.runs.folder import RunFolder
from quorate.runs.search_record import NAME, SearchRecord
from quorate.tracking import journal


def write_search_report(folder: RunFolder, path: Path | None = None) -> Path:
    """Write the report of a search, by default as `report.html` in the folder of its run; returns the path."""
    record = SearchRecord.read(folder)
    assert record is not None, "the run is a search"
    has_journal = (folder.path / journal.NAME).is_file()
    curves = recorded_curves(folder) if has_journal else {}
    recipe = Reproduction(job_in(folder, spec_in(folder)), tuple(_commands(folder, record)), tuple(_settings(record)))
    return write_page(path or folder.path / REPORT, search_page(SearchData(record, recipe, curves)))


def _commands(folder: RunFolder, record: SearchRecord) -> Iterator[str]:
    yield f"quorate tune JOB.yaml {record.member} --resume   # the same settings again"
    yield f"quorate tune JOB.yaml {record.member} --resume --emit best.yaml"
    yield "quorate train best.yaml   # the chosen trials as members, without training them again"
    yield f"quorate report --run {folder.address}   # write this page again"


def _settings(record: SearchRecord) -> Iterator[tuple[str, str]]:
    yield "all trials", NAME
    for name, value in record.settings.items():
        if name != "space" and value is not None:
            yield name, str(value)
