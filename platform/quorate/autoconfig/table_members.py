"""Choose candidate members for tables: the first entries of the portfolio."""

from __future__ import annotations

from typing import Any

from quorate.autoconfig.selection import MemberCandidate
from quorate.data.signature import Signature
from quorate.plan.portfolio import PortfolioEntry, portfolio

FIRST = 12
"""Number of entries of the portfolio to choose from; a growing job tries the others. An assumption, not a
measurement."""
_FEWEST_EPOCHS = 0.25
"""Smallest fraction of the usual number of epochs of a network. An assumption, not a measurement."""


def table_candidates(signature: Signature, *, rows: int, twice: bool) -> tuple[MemberCandidate, ...]:
    """Candidates for `rows` training rows, most useful first.

    `twice` is true if each class has at least two training rows in every fold.
    """
    entries = [entry for entry in portfolio(signature, rows) if twice or entry.params["kind"] != "svm"]
    return tuple(_candidate(entry, rows, core=entry is entries[0]) for entry in entries[:FIRST])


def _candidate(entry: PortfolioEntry, rows: int, *, core: bool) -> MemberCandidate:
    usual: dict[str, Any] = entry.member("table", rows)
    wanted = entry.epochs("table", rows)
    return MemberCandidate(
        entry.name,
        entry.source,
        (usual, {**usual, **entry.cheaper}) if entry.cheaper else (usual,),
        epochs=None if wanted is None else (max(2, int(_FEWEST_EPOCHS * wanted)), wanted),
        core=core,
    )
