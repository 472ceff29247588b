"""Measure how long the members of an ensemble take for one row on this machine: the minimum of several measurements.
The documentation of Python's `timeit` recommends the minimum, because longer times are caused by other processes.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from quorate.bundle.bundle import Bundle
from quorate.data.dataset import Inputs
from quorate.data.in_memory import as_inputs
from quorate.data.signature import ImageSignature, Signature
from quorate.members.base import Member

_WARM_UP, _TIMES = 2, 15
_LIKE = {"numeric": 0.0, "boolean": False, "categorical": "-"}


def member_milliseconds(bundle: Bundle) -> dict[str, float]:
    """Return the milliseconds of each member of a bundle for one row: the sum of the minima of its fold models."""
    row = _row(bundle.signature)
    return {name: sum(_least(model, row) for model in models) for name, models in bundle.models.items()}


def _row(signature: Signature) -> Inputs:
    """Return one row with this signature."""
    if isinstance(signature, ImageSignature):
        return as_inputs(np.random.default_rng(0).integers(0, 256, (1, *signature.shape), dtype=np.uint8), signature)
    return as_inputs(pd.DataFrame({c.name: [_LIKE[c.kind]] for c in signature.columns}), signature)


def _least(model: Member, row: Inputs) -> float:
    times = []
    for number in range(_WARM_UP + _TIMES):
        begun = time.perf_counter()
        model.predict_proba(row)
        if number >= _WARM_UP:
            times.append(1e3 * (time.perf_counter() - begun))
    return min(times)
