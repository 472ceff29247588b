"""Array types of the ensemble mathematics. Docstrings give the shapes (M members, N rows, K classes)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Proba: TypeAlias = NDArray[np.floating[Any]]  # probabilities, float32 or float64
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.integer[Any]]
Mask: TypeAlias = NDArray[np.bool_]
