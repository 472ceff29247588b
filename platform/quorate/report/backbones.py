"""The ranking of frozen networks as a table for the terminal, and what it says in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from quorate.runs.backbone_ranking import BackboneRanking, RankedBackbone


def ranking_table(ranking: BackboneRanking) -> Table:
    """One row per network, the best first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("network", overflow="fold")
    for head in ("size", "features", "kNN acc", "probe acc", "probe NLL"):
        table.add_column(head, justify="right")
    table.add_column("weights", overflow="fold")
    for one in ranking.networks:
        figures = (f"{one.knn_accuracy:.4f}", f"{one.probe_accuracy:.4f}", f"{one.probe_nll:.4f}")
        table.add_row(*map(Text, (one.name, size_of(one), f"{one.width:,}", *figures, one.weights)))
    return table


def size_of(one: RankedBackbone) -> str:
    return "as it is" if one.size is None else str(one.size)


def ranking_notes(ranking: BackboneRanking) -> Iterator[str]:
    """What was ranked, left out and kept, and whether the choice depends on validation rows."""
    networks = "1 network" if len(ranking.networks) == 1 else f"{len(ranking.networks)} networks"
    yield f"{networks} ranked on {ranking.rows:,} training rows"
    for arch, reason in ranking.left_out.items():
        yield f"left out: {arch}: {reason}"
    for use in ranking.uses:
        yield f"{use.member}: uses {', '.join(use.kept)}; {_agreement(use.agreeing_folds, ranking.folds)}"


def _agreement(agreeing: int, folds: int) -> str:
    if folds == 1:
        return "chosen without the validation rows"
    if agreeing == folds:
        return f"each of the {folds} folds would choose the same without its validation rows"
    return (
        f"{agreeing} of {folds} folds would choose the same without their validation rows; the out-of-fold figures of "
        "the others are slightly optimistic"
    )
