"""The model that MLflow loads: a bundle as an `mlflow.pyfunc` model (MLflow logs this file as its code)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class BundleModel(PythonModel):  # type: ignore[misc]
    """Predicts calibrated float32 probabilities (n, K) of uint8 images (n, H, W, C) or a data frame of the columns."""

    def load_context(self, context: Any) -> None:  # MLflow passes it by this name
        from quorate.bundle import Bundle  # this imports the model's copy of the package if Quorate is not installed

        # a pyfunc model contains code, so whoever loads it already trusts it
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]), allow_code=True)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """It has no type hints, because MLflow would derive a second schema from them, in addition to the signature."""
        rows = model_input if isinstance(model_input, pd.DataFrame) else np.asarray(model_input)
        proba = self._bundle.predict(rows).proba
        return np.asarray(proba, dtype=np.float32)


set_model(BundleModel())
