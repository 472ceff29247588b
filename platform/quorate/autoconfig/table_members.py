"""Choose candidate members for tables: boosted trees first, then kinds that make different mistakes."""

from __future__ import annotations

from typing import Any

from quorate.autoconfig.image_members import batch_size
from quorate.autoconfig.selection import MemberCandidate

SVM_ROWS = 5_000
"""An SVM is used only below this number of rows: its cost is quadratic in the number of rows, and trees are better with
more rows. An assumption, not a measurement."""
DEEP_ROWS = 5_000
"""Minimum number of rows for trees with many leaves. An assumption, not a measurement."""
_STEPS = 500_000
"""Total number of training rows, over all epochs, for the network. An assumption, not a measurement."""


def table_candidates(*, rows: int, twice: bool) -> tuple[MemberCandidate, ...]:
    """Candidates for `rows` training rows, most useful first.

    `twice` is true if each class has at least two training rows in every fold.
    """
    boosting = {"kind": "gradient_boosting"}
    wanted = min(40, max(5, round(_STEPS / rows)))
    candidates = [
        MemberCandidate(
            "boosting",
            "the strongest kind on most tables; low learning rate, few leaves, a random half of the features per split",
            (
                {**boosting, "learning_rate": 0.05, "leaves": 15, "max_features": 0.5},
                {**boosting, "learning_rate": 0.2, "leaves": 15, "max_features": 0.5, "iterations": 200},
            ),
            copies=3,
            core=True,
        ),
        MemberCandidate(
            "logistic",
            "linear, fast; its penalty is chosen on held-out training rows",
            ({"kind": "logistic", "C": "auto"}, {"kind": "logistic"}),
        ),
        MemberCandidate(
            "extra_trees",
            "trees with random thresholds; their leaves are chosen on held-out training rows",
            tuple(
                {
                    "kind": "extra_trees",
                    "trees": trees,
                    "min_samples_leaf": "auto",
                    "max_features": "auto",
                    "smoothing": 1,
                }
                for trees in (300, 100)
            ),
        ),
        MemberCandidate(
            "boosting_small",
            "many shallow trees with a penalty",
            ({**boosting, "leaves": 7, "l2": 1.0, "max_features": 0.5},),
            copies=2,
        ),
        MemberCandidate(
            "mlp",
            "a network with embeddings for categories",
            (
                {
                    "kind": "net",
                    "arch": {"kind": "mlp", "hidden": [128, 64]},
                    **({"batch_size": 256} if rows >= 10_000 else batch_size(rows)),
                    "schedule": "one_cycle",
                    "lr": 0.2 if rows >= 10_000 else 0.05,
                    "dropout": 0.1,
                    "standardize": "feature",
                },
            ),
            epochs=(max(2, wanted // 4), wanted),
            copies=2,
        ),
        MemberCandidate(
            "forest",
            "bagged trees",
            tuple({"kind": "random_forest", "trees": trees, "smoothing": 1} for trees in (300, 100)),
        ),
    ]
    if rows >= DEEP_ROWS:
        form: dict[str, Any] = {
            "learning_rate": 0.03,
            "leaves": 63,
            "min_samples_leaf": 40,
            "l2": 10.0,
            "max_features": 0.3,
        }
        candidates.append(
            MemberCandidate("boosting_deep", "fewer, larger trees with a penalty", ({**boosting, **form},))
        )
    if rows < SVM_ROWS and twice:
        forms = (
            {"kind": "svm", "C": "auto", "calibration": "temperature"},
            {"kind": "svm", "calibration": "temperature"},
        )
        candidates.insert(
            2,
            MemberCandidate(
                "svm",
                f"smooth decision boundaries; for fewer than {SVM_ROWS:,} rows: its cost is quadratic in their number",
                forms,
            ),
        )
    return tuple(candidates)
