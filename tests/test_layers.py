"""Imports only go down, as the table below defines the architecture."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PLATFORM = Path(__file__).parents[1] / "platform"

LAYERS = (
    {"errors", "quantities", "json_text", "temperature"},
    {"registry"},
    {"spec", "store"},
    {"data"},
    {"training"},
    {"members"},
    {"ensemble"},
    {"plan"},
    {"bundle"},
    {"execution"},
    {"results", "scoring", "tracking"},
    {"runs"},
    {"serving"},
    {"report"},
    {"job"},
    {"autoconfig", "diagnostics", "doctor"},
    {"compress", "search"},
    {"cli", "estimator", "loading"},
    {"__main__"},
)
"""From the bottom to the top: a part imports from parts below its own line only. A new part needs a place."""

TOP = len(LAYERS)
"""Of `quorate/__init__.py`, which imports what it exports when that is first used."""

MAY_IMPORT = {
    "ray": {"execution", "search", "serving"},
    "mlflow": {"tracking"},
    "torch": {"members", "training", "execution"},
    "timm": {"training"},
    "onnxruntime": {"members"},
    "torchvision": {"data", "training"},
    "sklearn": {"data", "members", "ensemble", "estimator"},
    "starlette": {"serving"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "typer": {"cli"},
    "obstore": {"store"},
    "rich": {"cli", "report", "job", "search", "estimator"},
    "optuna": {"search", "report"},
}
"""The parts that may import each library."""

FORBIDDEN = {
    "members": {"execution", "job", "cli", "tracking", "serving", "report", "ensemble"},
    "training": {"members", "execution", "job", "cli", "tracking", "serving", "report", "ensemble"},
    "data": {"training", "members", "execution", "job", "cli", "tracking", "serving", "report", "ensemble"},
    "ensemble": {"data", "training", "members", "execution", "tracking", "serving", "report"},
    "serving": {"tracking", "report", "job", "training", "members"},
    "tracking": {"execution", "serving", "report", "members", "training", "data"},
    "execution": {"tracking", "serving", "report", "ensemble", "store"},
}
"""Parts that must not import each other, whatever their order."""

EXECUTES_ON_LOAD = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}

MODULES = sorted((PLATFORM / "quorate").rglob("*.py"))


def part_of(module: Path) -> str:
    """The package or top-level module of quorate that a file belongs to; empty for `quorate/__init__.py`."""
    first = module.relative_to(PLATFORM / "quorate").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


@cache
def imports_of(module: Path) -> frozenset[str]:
    """Full dotted names, of imports inside functions too."""
    package = ".".join(module.relative_to(PLATFORM).parent.parts)
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: 1 - node.level or None]) if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(names)


def parts_imported(module: Path) -> set[str]:
    """Parts of quorate that a file imports."""
    dotted = (name.split(".") for name in imports_of(module))
    return {name[1] for name in dotted if name[0] == "quorate" and len(name) > 1} - {"__version__"}


def libraries_of(module: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(module)}


def name_of(module: Path) -> str:
    return str(module.relative_to(PLATFORM))


@pytest.fixture
def level() -> dict[str, int]:
    return {part: i for i, parts in enumerate(LAYERS) for part in parts}


def test_the_imports_of_this_package_are_seen():
    """The reader of imports, on files whose imports are known."""
    cli, net = PLATFORM / "quorate/cli/train.py", PLATFORM / "quorate/members/net_params.py"

    assert {"job", "spec", "store"} <= parts_imported(cli), "imports inside functions"
    assert {"data", "registry", "spec", "training"} <= parts_imported(net)
    assert {"torch", "pydantic"} <= libraries_of(net)


def test_every_part_has_its_place_in_the_table(level):
    assert {part_of(module) for module in MODULES} - {""} == set(level)


def test_no_import_goes_up(level):
    upward = {}
    for module in MODULES:
        own = part_of(module)
        upward[name_of(module)] = {
            other for other in parts_imported(module) - {own} if level[other] >= level.get(own, TOP)
        }

    assert not {name: others for name, others in upward.items() if others}, "imported, and stands above or beside"


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_a_library_is_imported_where_it_belongs(library):
    importers = {part_of(module) for module in MODULES if library in libraries_of(module)}

    assert importers, f"nothing imports {library}: take it out of the table"
    assert importers <= MAY_IMPORT[library]


@pytest.mark.parametrize("part", FORBIDDEN)
def test_independent_parts_do_not_import_each_other(part):
    for module in MODULES:
        if part_of(module) == part:
            assert not parts_imported(module) & FORBIDDEN[part], name_of(module)


def test_nothing_that_executes_on_load_is_imported():
    assert not [name_of(module) for module in MODULES if libraries_of(module) & EXECUTES_ON_LOAD]


def test_torch_load_is_called_in_one_place_and_reads_weights_only():
    calls = {
        name_of(module): [keyword.value for keyword in node.keywords if keyword.arg == "weights_only"]
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "load_state_dict_from_file")
    }

    assert list(calls) == ["quorate/training/weights.py"]
    (given,) = calls["quorate/training/weights.py"]
    assert isinstance(given, ast.Constant) and given.value is True


def test_arrays_are_read_without_pickle():
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("allow_pickle", "False") == "False", name_of(module)


def test_platform_is_not_a_package():
    """With an `__init__.py` or a `conftest.py`, `import platform` would find this folder and break Python."""
    assert not (PLATFORM / "__init__.py").exists()
    assert not list(PLATFORM.glob("conftest.py"))
    assert [path.name for path in PLATFORM.iterdir() if path.is_dir()] == ["quorate"]
