"""The `search` section of a member: which values are tried, how they are suggested, and when a trial ends early."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from quorate.registry import Spec
from quorate.spec.space import Parameter, Space, parameters_of
from quorate.spec.space_forms import SpaceValue, parse_space

Method = Literal[
    "random",
    "grid",
    "sobol",
    "tpe",
    "gp",
    "ax",
    "bayesopt",
    "bohb",
    "hebo",
    "hyperopt",
    "nevergrad",
    "zoopt",
]
"""Quorate's names of Optuna's samplers, and the other searchers of Ray Tune by the names that Tune gives them."""
SearchMetric = Literal["nll", "brier", "accuracy", "balanced_accuracy", "macro_f1", "auc"]
SearchScheduler = Literal["none", "asha", "hyperband", "median", "wilcoxon", "pbt"]
Rungs = Literal["auto", "epochs", "folds", "both"]


# The defaults of `trials`, `parallel` and `reduction` are assumptions, not measurements. The default of `method` is
# Optuna's.
class SearchSpec(Spec):
    trials: int = Field(32, ge=1, le=100_000)
    """Largest number of trials, each with other parameters of the member."""
    method: Method = "tpe"
    """How values are suggested; see the methods below."""
    space: dict[str, SpaceValue] = Field(default_factory=dict)
    """The values to try, by the names of the parameters; by default those of the kind. See below."""
    portfolio: bool = True
    """Whether the first trials are the member as written and the entries of its kind in the portfolio."""
    metric: SearchMetric = "nll"
    """What a search optimizes on the out-of-fold predictions: `nll` and `brier` are lowered, the others raised."""
    scheduler: SearchScheduler = "none"
    """When to stop a trial that is worse than others: `asha`, `hyperband` (asynchronous), `median`, or `wilcoxon` (over
    folds only). `pbt` is population based training of networks."""
    over: Rungs = "auto"
    """Where a scheduler compares trials: after a part of the `epochs`, after a part of the `folds`, or `both` (epochs
    of the first fold, then folds). `auto` uses folds if there are several, else epochs."""
    reduction: float = Field(3, gt=1, le=100)
    """Ratio of the training at one comparison to that at the one before. With `asha` and `hyperband`, one in this
    number of the trials goes on."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Number of epochs between two comparisons with `pbt`; by default a tenth of the epochs."""
    parallel: int = Field(4, ge=1, le=10_000)
    """Number of trials at the same time. A suggestion knows the results of all trials but the last ones of this number,
    whatever the number of workers, so that a search gives the same trials everywhere."""
    ensemble: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Number of trials that become members, by greedy selection; by default only the best one does."""

    @cached_property
    def own_space(self) -> Space:
        """The space that the job file describes; empty if it describes none."""
        return parse_space(self.space)

    @field_validator("space")
    @classmethod
    def _can_be_read(cls, given: dict[str, Any]) -> dict[str, Any]:
        parse_space(given)
        return given

    @model_validator(mode="after")
    def _a_population_is_compared_after_epochs(self) -> SearchSpec:
        if self.scheduler != "pbt":
            if self.every is not None:
                raise ValueError(f"every is for scheduler: pbt, not {self.scheduler}; remove it")
            return self
        if self.over in ("folds", "both"):
            raise ValueError(f"scheduler: pbt compares after epochs, not over: {self.over}; remove over")
        if self.method == "grid":
            raise ValueError("scheduler: pbt changes values, which a grid does not have; choose another method")
        if "kind" in self.own_space:
            raise ValueError("scheduler: pbt trains networks that are alike; remove kind from the space")
        return self

    @model_validator(mode="after")
    def _wilcoxon_compares_folds(self) -> SearchSpec:
        if self.scheduler == "wilcoxon" and self.over in ("epochs", "both"):
            raise ValueError(f"scheduler: wilcoxon compares folds, not over: {self.over}; write over: folds, or asha")
        return self


def parameters_in(space: Space) -> tuple[Parameter, ...]:
    """The parameters of a space that have more than one value."""
    return tuple(one for one in parameters_of(space) if len(one.dimension.ends) > 1)
