"""Choose the combiner by its cross-fitted loss."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, ValidationInfo, field_validator

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.choice import simplest_within_one_error
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.objectives import OF_ROWS, Objective, loss, row_losses
from quorate.registry import COMBINERS, KindParams, kind_of


class AutoParams(KindParams):
    kind: str = "auto"

    objective: Objective = "nll"
    """The metric that the combination optimizes; candidates that take an objective and do not set one use this one."""
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
    """The combiners to choose from."""

    @field_validator("candidates")
    @classmethod
    def _with_the_objective(cls, candidates: tuple[KindParams, ...], info: ValidationInfo) -> tuple[KindParams, ...]:
        """Set each candidate's objective once, when the job is read; a run's own file then contains it."""
        objective = info.data.get("objective")
        if objective is None:  # the objective is invalid; pydantic reports that
            return candidates
        return tuple(
            each.model_copy(update={"objective": objective})
            if "objective" in type(each).model_fields and "objective" not in each.model_fields_set
            else each
            for each in candidates
        )


@COMBINERS.register("auto")
class Auto(Combiner[AutoParams]):
    """The simplest combiner within one standard error of the best cross-fitted one."""

    Params = AutoParams

    @property
    def objective(self) -> Objective:
        return self.params.objective

    def candidate(self, kind: str) -> KindParams:
        return next((each for each in self.params.candidates if each.kind == kind), self.params)

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        combiners: list[Combiner[KindParams]] = sorted(
            (COMBINERS.get(params.kind)(params, self.recipes) for params in self.params.candidates),
            key=lambda each: each.simplicity,
        )
        parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
        estimates = [
            crossfitted(each.fit_dependent, proba=proba, y=y, parts=parts, seed=seed, dependence=dependence)
            for each in combiners
        ]
        candidates = simplest_within_one_error(
            [each.params.kind for each in combiners],
            [loss(self.objective, estimate, y) for estimate in estimates],
            [row_losses(self.objective, estimate, y, [held for _, held in parts]) for estimate in estimates],
            groups=dependence.groups if self.objective in OF_ROWS else None,
        )
        chosen = next(each for each, found in zip(combiners, candidates, strict=True) if found.chosen)
        fitted = chosen.fit_dependent(proba=proba, y=y, seed=seed, dependence=dependence)
        return replace(fitted, candidates=candidates)
