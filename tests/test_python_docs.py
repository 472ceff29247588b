"""The examples in docs/python.md, the notebook and the docstring of EnsembleClassifier run unchanged."""

from __future__ import annotations

import doctest
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import quorate.estimator

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = DOCS / "quickstart.ipynb"


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An empty one, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return {"__name__": "__main__"}


def cells(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


@pytest.mark.slow
def test_the_examples_of_the_python_page_run_one_after_another(namespace: dict[str, Any]) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)

    for number, example in enumerate(examples):
        exec(compile(example, f"python.md, example {number + 1}", "exec"), namespace)

    assert len(examples) == 4
    assert namespace["proba"].shape == (143, 2)
    assert set(namespace["loaded"].predict(namespace["X_test"])) == {"0", "1"}


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(namespace: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for number, cell in enumerate(cells("code")):
            exec(compile("".join(cell["source"]), f"quickstart.ipynb, cell {number + 1}", "exec"), namespace)

    assert namespace["ensemble"].score(namespace["X_test"], namespace["y_test"]) > 0.9


def test_the_notebook_shows_what_its_cells_print_and_little_of_it() -> None:
    shown = [cell for cell in cells("code") if cell["outputs"]]

    assert len(shown) >= 4
    assert not any(output["output_type"] == "error" for cell in shown for output in cell["outputs"])
    assert NOTEBOOK.stat().st_size < 20_000


def test_the_example_of_the_docstring_gives_what_it_says() -> None:
    found = doctest.testmod(quorate.estimator)

    assert found.attempted >= 2
    assert found.failed == 0
