"""Users' own combiners: a function that returns weights, or a subclass of `Combiner`."""

from __future__ import annotations

from typing import Any

import numpy as np

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner, with_final_calibration
from quorate.registry import KindParams
from quorate.registry.own_code import OwnCodeError, describe_error
from quorate.spec.own_params import own_values, params_of, require_class, require_parameters

_FORM = "weights(proba, y, *, power: float = 1.0) -> an array (members,)"


def adopt_combiner(kind: str, found: Any) -> type[Combiner[KindParams]]:
    """Make a combiner kind from a subclass of `Combiner`, or from a function of calibrated probabilities and labels."""
    if isinstance(found, type):
        require_class(
            found, base=KindParams, names=("fit", "pool"), kind=kind, ignored=Combiner if found is Combiner else object
        )
        if not issubclass(found, Combiner):
            raise OwnCodeError(f"the class {found.__name__} is not a subclass of quorate.ensemble.combiner.Combiner")
        return found
    if not callable(found):
        raise OwnCodeError(f"it is a {type(found).__name__}; it must be a function: {_FORM}")
    require_parameters(found, ("proba", "y"), form=_FORM)
    return _of_function(kind, found)


def _of_function(kind: str, function: Any) -> type[Combiner[KindParams]]:
    class OwnCombiner(Combiner[KindParams]):
        Params = params_of(function, what="combiner", kind=kind, given=("proba", "y", "seed"))

        def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
            calibrations = fit_each(KindParams(kind="temperature"), proba=proba, y=y)
            given = {"proba": np.stack(list(calibrated(calibrations, proba))), "y": y, "seed": seed}
            try:
                weights = np.asarray(function(**own_values(self.params, function, given)), dtype=np.float64)
            except Exception as error:  # a user's code can raise any error
                raise OwnCodeError(f"{kind} raises {describe_error(error)}") from error
            if (
                weights.shape != (len(proba),)
                or not np.isfinite(weights).all()
                or (weights < 0).any()
                or not weights.any()
            ):
                raise OwnCodeError(
                    f"{kind} returned the weights {weights}; it must return a weight >= 0 for each of the {len(proba)} "
                    "members"
                )
            combination = Combination(kind, weights / weights.sum(), calibrations)
            return with_final_calibration(combination, proba=proba, y=y)

    OwnCombiner.__doc__ = function.__doc__
    OwnCombiner.__module__ = function.__module__
    return OwnCombiner
