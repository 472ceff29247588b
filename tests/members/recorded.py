"""Results of the kinds of member, recorded when their `version` was last increased.

`python -m tests.members.recorded` writes it anew: after raising the `version` of the kind that changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.members.configurations import CONFIGURATIONS, TABLES_ONLY, is_installed, trained
from tests.tiny import plan_of, tiny_data, tiny_table

from quorate.registry import MEMBERS

RECORD = Path(__file__).with_suffix(".json")
EPOCHS = 2
"""Number of epochs of a network. With more epochs, the rounding differences between CPU types would become visible."""


def now() -> dict[str, dict[str, Any]]:
    """The kind's version, its first fit task's key and some probabilities, for each configuration that runs here."""
    found = {}
    for name, configuration in CONFIGURATIONS.items():
        if not is_installed(name):
            continue
        if "epochs" in configuration:
            configuration = {**configuration, "epochs": EPOCHS}
        make = tiny_table if name in TABLES_ONLY else tiny_data
        data, valid = make(rows=60), make(rows=6, seed=1)
        plan = plan_of(f"{{m: {json.dumps(configuration)}}}", data=make(rows=40))
        proba = trained(configuration, data, valid).predict_proba(valid.x)
        found[name] = {
            "version": MEMBERS.get(configuration["kind"]).version,
            "key": plan.tasks[0].key,
            "proba": np.round(proba.astype(np.float64), 3).tolist(),
        }
    return found


if __name__ == "__main__":
    assert all(map(is_installed, CONFIGURATIONS)), "pip install 'quorate[boosting]' first"
    RECORD.write_text(json.dumps(now(), indent=1) + "\n", encoding="utf-8")
