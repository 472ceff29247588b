"""The section on the choice of frozen networks, for jobs that chose among several."""

from __future__ import annotations

from collections.abc import Iterator

from quorate.report.backbones import size_of
from quorate.report.page.run import RunData
from quorate.report.page.section import Remark, Section, good, listed, many, note
from quorate.runs.backbone_ranking import BackboneRanking


def section(run: RunData) -> Section | None:
    """The section; None if the job chose no networks."""
    ranking = run.backbones
    if ranking is None:
        return None
    users = {one.name: [use.member for use in ranking.uses if one.name in use.kept] for one in ranking.networks}
    return Section(
        "backbones",
        "Frozen networks",
        f"The networks that the job chose from, ranked by a linear probe on their features of "
        f"{many(ranking.rows, 'training row')}. kNN is the accuracy of the nearest other rows. A high accuracy and a "
        "low NLL are good.",
        list(_remarks(ranking)),
        {
            "rows": [(one, size_of(one), listed(users[one.name]) or "–") for one in ranking.networks],
            "left_out": list(ranking.left_out.items()),
        },
    )


def _remarks(ranking: BackboneRanking) -> Iterator[Remark]:
    if ranking.folds == 1 or not ranking.uses:
        return
    for use in ranking.uses:
        if use.agreeing_folds == ranking.folds:
            yield good(
                f"`{use.member}`: each of the {ranking.folds} folds would choose the same networks without its "
                "validation rows, so the choice does not make its out-of-fold figures optimistic."
            )
        else:
            yield note(
                f"`{use.member}`: {use.agreeing_folds} of {ranking.folds} folds would choose the same networks without "
                "their validation rows. The networks are almost equally good, and the out-of-fold figures are slightly "
                "optimistic."
            )
