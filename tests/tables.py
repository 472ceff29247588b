"""A small table of customers, and a job that learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.jobs import Here

CUSTOMERS: dict[str, Any] = {
    "name": "customers",
    "data": {"kind": "csv", "train": "train.csv", "label": "bought", "columns": {"id": "ignore"}},
    "validation": {"folds": 2},
    "members": {
        "svm": {"kind": "svm", "C": 3},
        "forest": {"kind": "random_forest", "trees": 50, "min_samples_leaf": 5},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def customers(rows: int, *, seed: int) -> pd.DataFrame:
    """Age and visits (numbers), job (text), club (yes or no), and whether the customer bought; some are missing."""
    rng = np.random.default_rng(seed)
    age, visits = rng.integers(18, 80, rows).astype(float), rng.integers(0, 9, rows)
    job = rng.choice(["clerk", "nurse", "smith"], rows).astype(object)
    club = rng.choice(["yes", "no"], rows).astype(object)
    odds = abs(age - 49) / 4 - 4 + (job == "nurse") * 2 - (club == "yes") + rng.normal(size=rows)
    age[::11], job[::13], club[::17] = np.nan, None, None
    columns = {"id": np.arange(rows), "age": age, "visits": visits, "job": job, "club": club}
    return pd.DataFrame({**columns, "bought": np.where(odds > 0, "yes", "no")})


def run_customers(folder: Path) -> Here:
    """The finished job in `folder`, with 60 more customers in `new.csv` (missing values as question marks)."""
    here = Here(folder)
    customers(240, seed=0).to_csv(folder / "train.csv", index=False)
    customers(60, seed=1).to_csv(folder / "new.csv", index=False, na_rep="?")
    here.run(CUSTOMERS)
    return here
