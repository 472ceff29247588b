"""Describe a row with MLflow's types, for the signature of a model and the schema of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.data.schema import TensorDatasetSchema
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

COLUMNS = {"numeric": DataType.double, "boolean": DataType.string, "categorical": DataType.string}
"""MLflow's type of each kind of column.

Booleans are text (`true`, `false`, `yes`, `no`, `1`, `0`), because MLflow's server reads a missing `boolean` as
`false`. Categories are text even if they look like numbers, because otherwise a CSV body would lose the zeros of `007`.
"""
_EXAMPLES = {"numeric": 0.0, "boolean": "false", "categorical": "text"}


def schema_of(signature: Mapping[str, Any]) -> Schema:
    """The MLflow schema for a signature as `quorate.data.signature` writes it; any value may be missing."""
    if signature["kind"] == "table":
        columns = signature["columns"]
        return Schema([ColSpec(COLUMNS[column["kind"]], column["name"], required=False) for column in columns])
    return Schema([TensorSpec(np.dtype(signature["dtype"]), (-1, *signature["shape"]))])


def example_of(signature: Mapping[str, Any]) -> Any:
    """An example row of the schema."""
    if signature["kind"] == "table":
        return pd.DataFrame({column["name"]: [_EXAMPLES[column["kind"]]] for column in signature["columns"]})
    return np.zeros((1, *signature["shape"]), np.dtype(signature["dtype"]))


def dataset_schema(signature: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the format of MLflow's datasets."""
    schema = schema_of(signature)
    if schema.is_tensor_spec():
        return TensorDatasetSchema(features=schema).to_dict()  # type: ignore[no-any-return]
    return {"mlflow_colspec": schema.to_dict()}
