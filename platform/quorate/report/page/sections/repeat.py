"""The section on reproducing and using the run."""

from __future__ import annotations

from quorate.report.page.run import RunData
from quorate.report.page.section import Section


def section(run: RunData) -> Section:
    return Section(
        "repeat",
        "How to repeat it",
        "The same job on the same data and the same type of processor gives bitwise identical members. Finished work "
        "is taken from the store, so repeating the job takes seconds. With another store, the job trains again.",
        (),
        {"recipe": run.recipe},
    )
