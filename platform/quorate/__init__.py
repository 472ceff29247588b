"""Quorate trains ensembles of diverse classifiers on a cluster and serves their combined prediction.

`quorate.EnsembleClassifier` runs a job as a scikit-learn classifier, and `quorate.load` loads the ensemble of a
finished run. Both are imported on first use, so that `import quorate` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quorate.estimator import EnsembleClassifier
    from quorate.loading import load

__all__ = ["EnsembleClassifier", "__version__", "load"]
__version__ = "0.1.0"

_LAZY = {"EnsembleClassifier": "quorate.estimator", "load": "quorate.loading"}


def __getattr__(name: str) -> Any:
    """Import an attribute that `_LAZY` names (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'quorate' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
