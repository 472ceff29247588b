"""The documents say what the code does: fields, defaults, commands, links, and examples that run."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from scipy.special import softmax
from scipy.stats import multivariate_normal

from quorate.cli import app
from quorate.data.dataset import Dataset
from quorate.data.source import DataParams, RoleParams, TestSplit
from quorate.data.table_files import TableParams
from quorate.data.weighting import WeightingParams
from quorate.ensemble.combiner import CalibratingParams
from quorate.execution.assignment import Assignment, Control
from quorate.execution.events import Fitted
from quorate.execution.local import LocalExecutor
from quorate.execution.stream import stream
from quorate.members.backbone import Backbone
from quorate.members.base import load_member
from quorate.members.best_backbones import BestBackbones, JoinedBackbones
from quorate.members.boosting import BoostingParams
from quorate.members.earlier_epochs import Earlier, EarlierEpochs
from quorate.members.forest import ForestParams
from quorate.members.learner import LearnerParams
from quorate.plan.opening import open_data
from quorate.plan.planner import make_plan
from quorate.registry import (
    ARCHS,
    AUGMENTATIONS,
    CALIBRATIONS,
    COMBINERS,
    DATASETS,
    INITIALIZATIONS,
    MEMBERS,
    OPTIMIZERS,
    PRETRAININGS,
    SCHEDULES,
    KindParams,
)
from quorate.spec import (
    ExecutionSpec,
    JobSpec,
    MemberParams,
    ProductionSpec,
    QuorumSpec,
    TrackingSpec,
    ValidationSpec,
    load_job,
)
from quorate.spec import file as jobfile
from quorate.spec.file import SpecError
from quorate.spec.search import SearchSpec
from quorate.training.finetuning import Finetune
from quorate.training.momentum import MomentumWarmup
from quorate.training.number_embeddings import Periodic, PiecewiseLinear
from quorate.training.optimizers import MomentsParams
from quorate.training.pretraining.objective import PretrainParams
from quorate.training.schedule import ScheduleParams
from quorate.training.stopping import EarlyStopping
from quorate.training.tta import Tta

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(path for folder in ("docs", "cluster") for path in (ROOT / folder).rglob("*.md"))]
)
REGISTRIES = (
    DATASETS,
    MEMBERS,
    ARCHS,
    INITIALIZATIONS,
    OPTIMIZERS,
    SCHEDULES,
    AUGMENTATIONS,
    PRETRAININGS,
    COMBINERS,
    CALIBRATIONS,
)
PARTS: list[type[BaseModel]] = [
    JobSpec,
    ValidationSpec,
    QuorumSpec,
    ProductionSpec,
    ExecutionSpec,
    TrackingSpec,
    DataParams,
    RoleParams,
    TableParams,
    TestSplit,
    MemberParams,
    SearchSpec,
    WeightingParams,
    CalibratingParams,
    LearnerParams,
    Backbone,
    BestBackbones,
    JoinedBackbones,
    ForestParams,
    BoostingParams,
    Tta,
    EarlyStopping,
    Earlier,
    EarlierEpochs,
    PiecewiseLinear,
    Periodic,
    MomentsParams,
    MomentumWarmup,
    ScheduleParams,
    Finetune,
    PretrainParams,
]

BLOCK = re.compile(r"^```(\S+)?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def kinds() -> list[tuple[str, type[BaseModel]]]:
    """The name of each registered kind as a job file writes it, with its parameters' model."""
    own = [(registry, name) for registry in REGISTRIES for name in registry.names()]
    pairs = [(name, registry.get(f"{name}NAME" if name.endswith("/") else name).Params) for registry, name in own]
    return [(name, params) for name, params in pairs if params.__module__.startswith("quorate.")]


def models() -> list[type[BaseModel]]:
    return list(dict.fromkeys([*PARTS, *(params for _, params in kinds())]))


def own_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that `model` itself declares; those of its bases have a table of their own."""
    own = set(model.__annotations__) - {"kind"}
    return {name: field for name, field in model.model_fields.items() if name in own}


def default_of(field: FieldInfo) -> str:
    """The default as a job file would write it."""
    if field.is_required():
        return "required"
    given = field.get_default(call_default_factory=True)
    if isinstance(given, KindParams):
        return f"`{given.kind}`"
    if isinstance(given, BaseModel) and set(type(given).model_fields) != {"fraction", "seed"}:
        return "see below"
    value = given.model_dump() if isinstance(given, BaseModel) else given
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def choices_of(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (f"`{choice}`" for choice in get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from choices_of(part)


def table_of(page: str, model: type[BaseModel]) -> dict[str, list[str]]:
    """The rows of the table under the comment that names `model`: key to cells."""
    _, found, rest = page.partition(f"<!-- {model.__name__} -->\n")
    assert found, f"docs/jobs.md has no table marked <!-- {model.__name__} -->"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rest.split("\n\n")[0].splitlines()]
    return {cells[0].strip("`| "): cells for cells in rows[2:]}


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(info after the language, text) of each fenced block of `language` in `page`."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(info.strip(), text) for name, info, text in found if name == language]


@pytest.fixture(scope="module")
def reference() -> str:
    return (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_the_reference_of_job_files_has_every_field_with_its_default_choices_and_meaning(
    model: type[BaseModel], reference: str
) -> None:
    fields = own_fields(model)

    table = table_of(reference, model) if fields else {}

    assert list(table) == list(fields)
    for name, field in fields.items():
        _, values, default, meaning = table[name]
        said = " ".join((field.description or "").split())
        assert default.strip("| ") == default_of(field), f"{model.__name__}.{name}"
        assert meaning.strip("| ").startswith(said), f"{model.__name__}.{name}: expected {said!r}"
        assert len(meaning.strip("| ")) > 10, f"{model.__name__}.{name} is not explained"
        assert all(choice in values for choice in choices_of(field.annotation)), f"{model.__name__}.{name}: choices"


@pytest.mark.parametrize("name", [name for name, _ in kinds()])
def test_the_reference_of_job_files_names_every_registered_kind(name: str, reference: str) -> None:
    written = f"{name}NAME" if name.endswith("/") else name

    assert f"`{written}`" in reference


def test_every_command_of_the_readme_exists_with_the_options_that_it_shows() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = re.findall(r"(?:^|[\s`/])quorate ((?:--)?[a-z][a-z-]*)([^\n`|]*)", "\n".join(commands_in(readme)))

    visible = {name for name, command in commands.items() if not command.hidden}
    assert {name for name, _ in shown} >= visible, "the README leaves a command out"
    for name, rest in shown:
        assert name in commands, f"quorate {name}"
        known = {option for parameter in commands[name].params for option in parameter.opts}
        used = re.findall(r"(?<!\S)\[?(--?[a-z][a-z-]*)", rest)
        assert set(used) <= known, f"quorate {name}: {set(used) - known} is unknown"


def commands_in(markdown: str) -> list[str]:
    """Inline code and the lines of fenced shell blocks; a trailing backslash continues a line."""
    shell = [text.replace("\\\n", " ") for name, _, text in BLOCK.findall(markdown) if name in ("sh", "bash")]
    inline = re.findall(r"`([^`\n]+)`", BLOCK.sub("", markdown))
    return [line for text in shell for line in text.splitlines() if not line.startswith("#")] + inline


def test_every_make_target_that_the_documents_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))

    named = {target for page in PAGES for line in commands_in(page.read_text()) for target in _targets(line)}

    assert {"train", "test"} <= named
    assert named <= targets


def _targets(line: str) -> list[str]:
    return re.findall(r"(?:^|&& |; )make ([a-z][a-z-]*)", line)


def test_every_error_of_the_faq_occurs_in_the_code() -> None:
    faq = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    quoted = re.findall(r"<!-- message -->\n> (.+)", faq)
    said = "\n".join(text for path in (ROOT / "platform").rglob("*.py") for text in _texts(path))

    assert len(quoted) >= 15
    for message in quoted:
        assert message in said, f"docs/faq.md quotes {message!r}"


def _texts(path: Path) -> Iterator[str]:
    """The texts in a module, `…` for what f-strings fill in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_an_existing_file_and_heading(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]

    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if heading:
            assert heading in _anchors(target), f"{page.name}: {link}"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def examples() -> list[Any]:
    """Each YAML block of each page, whatever folder the page is in."""
    return [
        pytest.param(page, info, text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, (info, text) in enumerate(blocks(page, "yaml"))
        if page.name != "CONTRIBUTING.md"  # a kind that only its own test registers
    ]


@pytest.mark.parametrize(("page", "info", "text"), examples())
def test_every_yaml_example_is_a_job_that_loads_or_a_part_of_one(
    page: Path, info: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", _every_package(importlib.util.find_spec))
    path = tmp_path / "job.yaml"
    if info != "fragment":
        path.write_text(text, encoding="utf-8")
        assert load_job(path).spec.members
        return
    tree = jobfile.parse(text, name="fragment").tree or {}
    data = {"kind": "npz", "train": "train.npz", "test": "test.npz"}
    for name in ("train.npz", "test.npz"):
        (tmp_path / name).touch()
    whole = {"name": "example", "data": data, "members": {"svm": "svm"}} | tree
    path.write_text(json.dumps(whole), encoding="utf-8")

    try:
        load_job(path)
    except SpecError as error:
        # all problems are raised together: what is left is no file and no module of the reader's
        left = [one.message for one in error.problems if not re.search("there is no '|no module", one.message)]
        assert not left, f"{page.name}: {left}"


def _every_package(find: Any) -> Any:
    """As if each extra were installed: its kinds are known either way, and what they take is checked."""
    return lambda name, package=None: (
        importlib.machinery.ModuleSpec(name, None) if name == "xgboost" else find(name, package)
    )


@pytest.fixture
def contributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The member of CONTRIBUTING.md, imported from a file; the registry is as before in the end."""
    (source,) = (text for info, text in blocks(ROOT / "CONTRIBUTING.md", "python") if info == "members/lda.py")
    path = tmp_path / "contributed_lda.py"
    path.write_text(source, encoding="utf-8")
    MEMBERS.names()
    monkeypatch.setattr(MEMBERS, "_kinds", dict(MEMBERS._kinds))
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, path.stem, module)
    found.loader.exec_module(module)
    return module


def test_the_member_of_contributing_trains_from_a_job_file_and_is_the_same_after_saving(
    contributed: ModuleType, tmp_path: Path
) -> None:
    (job_text,) = (text for info, text in blocks(ROOT / "CONTRIBUTING.md", "yaml") if info == "")
    path = tmp_path / "job.yaml"
    path.write_text(job_text, encoding="utf-8")
    job = load_job(path)
    context = open_data(job)
    plan = make_plan(job.spec, context, LocalExecutor())
    task = next(task for task in plan.tasks if task.kind == "lda")

    *_, fitted = stream([Assignment(task, attempt=1, checkpoint_seconds=60)], context, Control())

    assert isinstance(fitted, Fitted), fitted
    fold = context.folds[task.fold]
    train, valid = context.train.take(fold.train), context.train.take(fold.valid)
    np.testing.assert_allclose(fitted.valid, _discriminants(train, valid, shrinkage=task.params.shrinkage), atol=1e-4)
    np.testing.assert_allclose(fitted.valid.sum(axis=1), 1, atol=1e-6)
    for name, content in fitted.files.items():
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(valid.x), fitted.valid)


def _discriminants(train: Dataset, valid: Dataset, *, shrinkage: float) -> np.ndarray:
    """Normal densities of one shrunk covariance times the classes' shares, written out with SciPy's densities."""
    x, at = (data.x.take(np.arange(len(data))).reshape(len(data), -1) / 255.0 for data in (train, valid))
    scale = np.where(x.std(axis=0) > 1e-6, x.std(axis=0), 1)
    at, x = (at - x.mean(axis=0)) / scale, (x - x.mean(axis=0)) / scale
    means = np.stack([x[train.y == k].mean(axis=0) for k in range(train.n_classes)])
    share = np.bincount(train.y) / len(train)
    parts = []
    for k in range(train.n_classes):
        covariance = np.cov(x[train.y == k], rowvar=False, bias=True)
        shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / len(covariance) * np.eye(x.shape[1])
        parts.append(share[k] * shrunk)
    densities = [multivariate_normal(mean, np.sum(parts, axis=0)).logpdf(at) for mean in means]
    return softmax(np.column_stack(densities) + np.log(share), axis=1)


def test_imports_follow_the_module_map_of_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| (`[a-z_./]+`(?:, `[a-z_./]+`)*) \| [^|]*\| [^|]* \|$", page, re.MULTILINE)
    row = {
        name.strip("`").removesuffix(".py").rstrip("/"): number
        for number, cell in enumerate(first_cells)
        for name in cell.split(", ")
    }
    package = ROOT / "platform" / "quorate"

    imports = {
        (path.relative_to(package).parts[0].removesuffix(".py"), node.module.split(".")[1])
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quorate.")
    }

    outside = {"__init__", "__main__"}
    assert {name for edge in imports for name in edge} - outside == set(row)
    assert {(a, b) for a, b in imports if a not in outside and row[a] > row[b]} == set()
