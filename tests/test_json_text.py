"""All JSON output is valid, whatever the numbers are."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np

from quorate.json_text import json_text

PACKAGE = Path(__file__).parents[1] / "platform" / "quorate"

WRITERS = ("cli", "compress", "report", "scoring", "diagnostics", "bundle", "runs", "job/final_files.py")
"""Where figures are written."""
TEXTS_ONLY = {
    "cli/options.py",
    "cli/runs.py",
    "cli/schema.py",
    "cli/tune.py",
    "compress/distillation.py",
    "scoring/uncertainty.py",
}
"""Of these, those that also encode texts and job files by themselves."""


def refuse(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def test_numbers_that_json_lacks_are_null_at_every_depth() -> None:
    value = {"a": math.nan, "b": [1.5, -math.inf, {"c": np.float64("inf")}], "d": (None, True, 3, "NaN")}

    text = json_text(value)

    known = json.loads(text, parse_constant=refuse)
    assert known == {"a": None, "b": [1.5, None, {"c": None}], "d": [None, True, 3, "NaN"]}


def test_finite_values_are_written_as_python_writes_them() -> None:
    value = {"figures": {"nll": 0.1 + 0.2, "rows": 12}, "names": ["é", 'x"y']}

    assert json_text(value) == json.dumps(value, indent=1)
    assert json_text(value, indent=None) == json.dumps(value)


def test_figures_are_written_by_one_function() -> None:
    modules = [path for name in WRITERS for path in (PACKAGE / name, *(PACKAGE / name).rglob("*.py")) if path.is_file()]
    assert len(modules) > 50

    encoding = {str(path.relative_to(PACKAGE)) for path in modules if calls_of_json(path) & {"dump", "dumps"}}

    assert encoding == TEXTS_ONLY


def calls_of_json(path: Path) -> set[str]:
    """The functions of `json` that a module calls or hands on."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("json", "json_format")
    }
