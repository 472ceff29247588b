"""What the kinds of member gave when their `version` was last raised.

`python -m tests.members.recorded` writes it anew: after raising the `version` of the kind that changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.members.configurations import CONFIGURATIONS, trained
from tests.tiny import plan_of, tiny_data

from quorate.kinds import MEMBERS

RECORD = Path(__file__).with_suffix(".json")


def now() -> dict[str, dict[str, Any]]:
    """For each configuration: the kind's version, the key of its first fit task, and some probabilities."""
    data, valid = tiny_data(rows=60), tiny_data(rows=6, seed=1)
    found = {}
    for name, configuration in CONFIGURATIONS.items():
        plan = plan_of(f"{{m: {json.dumps(configuration)}}}")
        proba = trained(configuration, data, valid).predict_proba(valid.x)
        found[name] = {
            "version": MEMBERS.get(configuration["kind"]).version,
            "key": plan.tasks[0].key,
            "proba": np.round(proba.astype(np.float64), 3).tolist(),
        }
    return found


if __name__ == "__main__":
    RECORD.write_text(json.dumps(now(), indent=1) + "\n", encoding="utf-8")
