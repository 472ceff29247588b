"""The combiner chosen by what each is worth on rows that it has not seen."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import crossfitted, parts_of
from quorate.ensemble.objectives import Objective, loss, row_losses
from quorate.ensemble.rules import simplest_within_one_error
from quorate.kinds import COMBINERS, KindParams, kind_of


class AutoParams(KindParams):
    kind: str = "auto"

    candidates: tuple[kind_of(COMBINERS), ...] = Field(  # type: ignore[valid-type]
        default=(
            "best_single",
            "mean",
            "geometric",
            "median",
            "vote",
            "rank",
            "weighted",
            "calibrated_greedy",
            "diverse_greedy",
            "stacking",
        ),
        min_length=1,
    )
    """What is chosen from."""
    objective: Objective = "nll"
    """What the combination is to be good at."""


@COMBINERS.register("auto")
class Auto(Combiner[AutoParams]):
    """The simplest combiner within one standard error of the best cross-fitted one."""

    Params = AutoParams

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        combiners: list[Combiner[KindParams]] = sorted(
            (COMBINERS.get(params.kind)(params, self.recipes) for params in self.params.candidates),
            key=lambda each: each.simplicity,
        )
        parts = list(parts_of(y, splits=5, seed=seed))
        estimates = [crossfitted(each.fit, proba=proba, y=y, parts=parts, seed=seed) for each in combiners]
        candidates = simplest_within_one_error(
            [each.params.kind for each in combiners],
            [loss(self.objective, estimate, y) for estimate in estimates],
            [row_losses(self.objective, estimate, y, [held for _, held in parts]) for estimate in estimates],
        )
        chosen = next(each for each, found in zip(combiners, candidates, strict=True) if found.chosen)
        return replace(chosen.fit(proba=proba, y=y, seed=seed), candidates=candidates)
