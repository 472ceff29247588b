"""Aliases of parameters: accepted, the same identity, documented; wrong keys get the right suggestion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quorate.registry import MEMBERS
from quorate.registry.parameter_names import aliases
from quorate.spec import file as jobfile
from quorate.spec import validate
from quorate.spec.file import SpecError
from quorate.spec.schema import job_schema

ROOT = Path(__file__).parents[2]
NET = "kind: net, arch: mlp"


def member(text: str) -> Any:
    source = jobfile.parse(f"data: digits\nmembers:\n  m: {{{text}}}\n", name="job.yaml")
    return validate(source, base=Path()).spec.members["m"]


@pytest.mark.parametrize(
    ("alias", "field"),
    [
        (f"{NET}, learning_rate: 0.1, max_epochs: 7", f"{NET}, lr: 0.1, epochs: 7"),
        (f"{NET}, patience: 4", f"{NET}, early_stopping: {{patience: 4}}"),
        (f"{NET}, early_stopping: 4", f"{NET}, early_stopping: {{patience: 4}}"),
        (f"{NET}, swa: {{learning_rate: 0.1}}", f"{NET}, swa: {{lr: 0.1}}"),
        (
            f"{NET}, copies: 2, vary: {{learning_rate: [0.1, 0.2]}}",
            f"{NET}, copies: 2, vary: {{lr: [0.1, 0.2]}}",
        ),
        ("kind: lightgbm, rounds: 5, lr: 0.2", "kind: lightgbm, iterations: 5, learning_rate: 0.2"),
        ("kind: lightgbm, epochs: 5, num_leaves: 8", "kind: lightgbm, iterations: 5, leaves: 8"),
        ("kind: lightgbm, early_stopping: 9", "kind: lightgbm, patience: 9"),
        ("kind: lightgbm, early_stopping: {patience: 9}", "kind: lightgbm, patience: 9"),
        ("kind: gradient_boosting, max_iter: 5", "kind: gradient_boosting, iterations: 5"),
        ("kind: random_forest, n_estimators: 5", "kind: random_forest, trees: 5"),
        ("kind: knn, n_neighbors: 5", "kind: knn, neighbours: 5"),
        ("kind: logistic, iterations: 5", "kind: logistic, max_iter: 5"),
    ],
)
def test_an_alias_is_the_same_parameter(alias: str, field: str) -> None:
    assert member(alias) == member(field)
    assert member(alias).model_dump_json() == member(field).model_dump_json()


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (f"{NET}, rounds: 5", "members.m.rounds", "unknown key 'rounds'; did you mean 'epochs'?"),
        (f"{NET}, iterations: 5", "members.m.iterations", "did you mean 'epochs'?"),
        (f"{NET}, learning_rte: 5", "members.m.learning_rte", "did you mean 'learning_rate'?"),
        (f"{NET}, reg_lambda: 1", "members.m.reg_lambda", "did you mean 'weight_decay'?"),
        ("kind: lightgbm, nrounds: 5", "members.m.nrounds", "did you mean 'iterations'?"),
        ("kind: xgboost, num_leaves: 5", "members.m.num_leaves", "unknown key 'num_leaves'"),
        ("kind: random_forest, iterations: 5", "members.m.iterations", "did you mean 'trees'?"),
        ("kind: extra_trees, columns: 0.5", "members.m.columns", "did you mean 'max_features'?"),
        ("kind: svm, n_jobs: 2", "members.m.n_jobs", "did you mean 'cpus'?"),
        ("kind: svm, workers: 2", "members.m.workers", "unknown key 'workers'"),
        (
            f"{NET}, lr: 0.1, learning_rate: 0.2",
            "members.m.learning_rate",
            "'learning_rate' and 'lr' are two names of the same parameter; keep one of them",
        ),
        ("kind: lightgbm, eta: 3", "members.m.eta", "should be less than or equal to 1, but is 3"),
        (
            f"{NET}, copies: 2, vary: {{lr: [0.1, 0.2], learning_rate: [0.1, 0.2]}}",
            "members.m.vary",
            "lr is given under two of its names; keep one of them",
        ),
    ],
)
def test_a_wrong_key_is_reported_with_the_right_one(text: str, path: str, said: str) -> None:
    if "xgboost" in text:
        pytest.importorskip("xgboost")

    with pytest.raises(SpecError) as error:
        member(text)

    assert f"job.yaml:3: {path}: " in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("kind", MEMBERS.names())
def test_every_alias_is_in_the_reference_of_job_files(kind: str) -> None:
    page = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    table = page.partition("### Other names of keys")[2].partition("\n### ")[0]

    for alias, field in aliases(MEMBERS.get(kind).Params).items():
        assert any(f"`{field}`" in line and f"`{alias}`" in line for line in table.splitlines()), f"{kind}: {alias}"


def test_an_editor_accepts_aliases() -> None:
    validator = Draft202012Validator(job_schema(built_in=True))
    job = {
        "data": "digits",
        "members": {
            "net": {"kind": "net", "arch": "mlp", "learning_rate": 0.1, "patience": 3},
            "trees": {"kind": "lightgbm", "rounds": 5, "early_stopping": {"patience": 3}},
        },
    }

    assert [error.message for error in validator.iter_errors(job)] == []
    job["members"]["net"]["learning_rate"] = -1  # type: ignore[index]
    assert list(validator.iter_errors(job))
