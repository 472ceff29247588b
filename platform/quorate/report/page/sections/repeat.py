"""How to have the run again, and what to do with it."""

from __future__ import annotations

from quorate.report.page.run import RunData
from quorate.report.page.section import Section


def section(run: RunData) -> Section:
    return Section(
        "repeat",
        "How to repeat it",
        "The same job on the same data and the same type of processor gives the same bits, member by member. Finished "
        "work is taken from the store, so a repetition there takes seconds; another store trains anew.",
        (),
        {"recipe": run.recipe},
    )
