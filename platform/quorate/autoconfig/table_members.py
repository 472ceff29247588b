"""Choose candidate members for tables: the first entries of the portfolio."""

from __future__ import annotations

from typing import Any

from quorate.autoconfig.selection import MemberCandidate
from quorate.data.signature import Signature
from quorate.plan.portfolio import PortfolioEntry, portfolio

FIRST = 12
"""Number of entries of the portfolio to choose from; a growing job tries the others. An assumption, not a
measurement."""
_FEWEST_EPOCHS = 0.25
"""Smallest fraction of the usual number of epochs of a network. An assumption, not a measurement."""


def table_candidates(signature: Signature, *, rows: int, twice: bool) -> tuple[MemberCandidate, ...]:
    """Candidates for `rows` training rows, most useful first.

    `twice` is true if each class has at least two training rows in every fold.
    """
<<<<<<< HEAD
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
        form = {"kind": "svm", "calibration": "temperature"}
        candidates.insert(
            2,
            MemberCandidate(
                "svm",
                f"smooth decision boundaries; for fewer than {SVM_ROWS:,} rows: its cost is quadratic in their number",
                (form,),
            ),
        )
    return tuple(candidates)
=======
    entries = [entry for entry in portfolio(signature, rows) if twice or entry.params["kind"] != "svm"]
    return tuple(_candidate(entry, rows, core=entry is entries[0]) for entry in entries[:FIRST])


def _candidate(entry: PortfolioEntry, rows: int, *, core: bool) -> MemberCandidate:
    usual: dict[str, Any] = entry.member("table", rows)
    wanted = entry.epochs("table", rows)
    return MemberCandidate(
        entry.name,
        entry.source,
        (usual, {**usual, **entry.cheaper}) if entry.cheaper else (usual,),
        epochs=None if wanted is None else (max(2, int(_FEWEST_EPOCHS * wanted)), wanted),
        core=core,
    )
>>>>>>> growth
