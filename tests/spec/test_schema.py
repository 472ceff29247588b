"""The JSON Schema of job files accepts what the loader accepts, and rejects what an editor should mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from quorate.spec import file as jobfile
from quorate.spec.schema import job_schema

PIPELINES = Path(__file__).parents[2] / "pipelines"
HEADER = "# yaml-language-server: $schema={}job.schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return job_schema(built_in=True)


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


def tree(text: str) -> Any:
    """A job as an editor sees it: YAML 1.2's scalars, variables as they are written."""
    return yaml.load(text, Loader=jobfile.JobFileLoader)


def test_the_schema_is_valid_json_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


def test_the_schema_next_to_the_pipelines_is_current(schema: dict[str, Any]) -> None:
    shipped = json.loads((PIPELINES / "job.schema.json").read_text(encoding="utf-8"))

    assert shipped == schema, "run: quorate schema -o pipelines/job.schema.json"


@pytest.mark.parametrize("path", sorted(PIPELINES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_pipeline_validates_and_points_an_editor_at_the_schema(
    path: Path, validator: Draft202012Validator
) -> None:
    text = path.read_text(encoding="utf-8")

    assert text.splitlines()[0] == HEADER.format("../" * (len(path.relative_to(PIPELINES).parts) - 1))
    assert [error.message for error in validator.iter_errors(tree(text))] == []


SMALL = "data: digits\nmembers: {m: svm}\n"


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        SMALL + "seed: ${SEED:-3}\nvalidation: {folds: '${FOLDS}', scheme: '${SCHEME}'}",
        "data: {kind: '${KIND}', anything: 1}\nmembers: {m: '${MEMBER:-svm}'}",
        "data: {kind: npz, train: '${DATA:-x}/a.npz', test: {fraction: 0.2}, limit: null}\nmembers: {m: svm}",
        "data: digits\nmembers: {m: {kind: net, arch: timm/resnet10t, weights: hub, lr: 1e-3}}",
        "data: digits\nmembers: {m: {kind: net, arch: {kind: mlp, hidden: [8, '${H}']}, schedule: one_cycle}}",
        "data: my_package.data:open_it\nmembers: {m: {kind: 'mine:Member', depth: 3}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, augment: {mirror: true, crop: 0, rotation: {degrees: 5}}}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, tta: {augment: {mirror: both, noise: '${N}'}}}}",
        "data: digits\nmembers: {m: {kind: svm, gamma: 0.1, memory: 2GiB}}\ncombiner: {kind: weighted}",
    ],
)
def test_valid_jobs_pass_the_schema(text: str, validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(tree(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "data: digits",
        "members: {m: svm}",
        SMALL + "speed: 3",
        SMALL + "seed: -1",
        SMALL + "seed: three",
        SMALL + "name: two words",
        SMALL + "validation: {folds: 1}",
        SMALL + "validation: {scheme: bootstrap}",
        SMALL + "combiner: {kind: calibrated_greedy, rounds: 10}",
        SMALL + "combiner: meen",
        "data: npz\nmembers: {m: svm}",
        "data: {kind: npz}\nmembers: {m: svm}",
        "data: digits\nmembers: {}",
        "data: digits\nmembers: {'a b': svm}",
        "data: digits\nmembers: {m: {C: 1}}",
        "data: digits\nmembers: {m: {kind: svm, trees: 3}}",
        "data: digits\nmembers: {m: {kind: svm, kernel: cubic}}",
        "data: digits\nmembers: {m: {kind: svm, memory: much}}",
        "data: digits\nmembers: {m: {kind: net, arch: {kind: mlp, hidden: []}}}",
        "data: digits\nmembers: {m: {kind: net, arch: timm/}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, augment: {flip: true}}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, augment: {rotation: 200}}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, augment: {rotation: {degree: 20}}}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, augment: {trivialaugment: 3}}}",
        "data: digits\nmembers: {m: {kind: net, arch: mlp, tta: {passes: 3}}}",
    ],
)
def test_jobs_that_the_loader_refuses_fail_the_schema(text: str, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(tree(text))


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    """Each key is described by its own docstring, or by that of its model."""
    bare = [
        f"{name}.{key}"
        for name, node in {"job": schema, **schema["$defs"]}.items()
        for key, value in node.get("properties", {}).items()
        if "description" not in value
        and all("$ref" not in part or part["$ref"].endswith("variable") for part in value.get("anyOf", [value]))
    ]

    assert bare == []
