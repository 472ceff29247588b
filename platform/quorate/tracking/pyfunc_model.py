"""The model that MLflow loads: a bundle behind `mlflow.pyfunc` (this file is logged as its code)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class BundleModel(PythonModel):  # type: ignore[misc]
    """uint8 images (n,H,W,C) or a data frame of the columns in, calibrated probabilities float32 (n,K) out."""

    def load_context(self, context: Any) -> None:  # MLflow passes it by this name
        from quorate.bundle import Bundle  # from the model's own copy of the package where none is installed

        # a pyfunc model is code already: whoever loads one trusts it
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]), allow_code=True)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """No type hints here: MLflow would make a schema of them, beside the signature."""
        rows = model_input if isinstance(model_input, pd.DataFrame) else np.asarray(model_input)
        proba = self._bundle.predict(rows).proba
        return np.asarray(proba, dtype=np.float32)


set_model(BundleModel())
