"""Import users' own code by `module:name`, describe its errors, and list its files."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from quorate.errors import UserError, did_you_mean

_REFERENCE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")
_PLATFORM = Path(__file__).resolve().parent

_folders: dict[Path, None] = {}
"""Folders that are searched before the installed packages: those of job files, and the current folder."""
_found: dict[str, str] = {}
"""Modules that were imported by reference, with the SHA-256 of their source."""


_forbidden: ContextVar[bool] = ContextVar("forbidden", default=False)
"""Whether imports by reference are forbidden, except of kinds of installed packages."""


class OwnCodeError(UserError):
    """A user's own code cannot be used; the message gives the reason and the place."""


@contextmanager
def forbid_imports() -> Iterator[None]:
    """Forbid imports by `module:name` reference, because a file from someone else can refer to any module."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def check_allowed(reference: str) -> None:
    """Raise `OwnCodeError` inside a `forbid_imports` block."""
    if _forbidden.get():
        raise OwnCodeError(
            f"{reference} would import code from the module {reference.partition(':')[0][:200]}; if you "
            "trust the source of these files, allow it with --allow-code, or in Python with allow_code=True"
        )


def add_search_folders(*folders: Path) -> None:
    """Search for modules in these folders too; the folders of the latest call come first."""
    new = dict.fromkeys(folder.absolute() for folder in folders)
    before = {folder: None for folder in _folders if folder not in new}
    _folders.clear()
    _folders.update(new | before)


def find(reference: str, *, plugin: bool = False) -> object:
    """Import the module of `module:name` and return the named object; raises `OwnCodeError`.

    Inside a `forbid_imports` block, only a `plugin` is imported: an entry point of an installed package.

    Each call puts the folders of `add_search_folders` first on Python's path, like the folder of a script.
    """
    if not plugin:
        check_allowed(reference)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise OwnCodeError(f"{reference!r} is not of the form module:name, such as my_package.networks:build")
    module = match["module"]
    _refuse_namesakes(module.partition(".")[0])
    sys.path[:0] = [str(folder) for folder in _folders if str(folder) not in sys.path]
    importlib.invalidate_caches()
    found: object = _import(module)
    for name in match["name"].split("."):
        inner = getattr(found, name, None)
        if inner is None:
            names = [known for known in dir(found) if not known.startswith("_")]
            file = getattr(sys.modules[module], "__file__", None)
            raise OwnCodeError(f"the module {module} has no {name!r}{did_you_mean(name, names)} (imported from {file})")
        found = inner
    if module not in _found:
        _found[module] = _digest(module)
    return found


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of installed packages in `group`, by name."""
    return {point.name: point for point in entry_points(group=group)}


def source_digest(reference: str) -> str:
    """Return the SHA-256 of the source of `reference`, including its own modules that it imports."""
    return _found[reference.partition(":")[0]]


def package_of(reference: str) -> str:
    """Return the package, or the single module, that `reference` belongs to."""
    return reference.partition(":")[0].partition(".")[0]


def own_files() -> list[Path]:
    """Return the package folders and single files of the imported code, except installed ones."""
    names = sorted({name.partition(".")[0] for module in _found for name in _closure(module)})
    places = [_place(spec) for name in names if (spec := _spec(name)) is not None]
    return [place for place in places if place is not None and not _is_installed(place)]


def describe_error(error: BaseException) -> str:
    """Return the message of an error in a user's code, with the file and line where it occurred."""
    text = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {text[-1]}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    known = [frame for frame in frames if Path(frame[0]).is_file() and not Path(frame[0]).is_relative_to(_PLATFORM)]
    own = [frame for frame in known if not _is_installed(Path(frame[0]))]
    return f"{what} ({own[-1][0]}:{own[-1][1]})" if own else what


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise OwnCodeError(_missing(error.name)) from None
        raise OwnCodeError(f"the module {name} cannot be imported: {describe_error(error)}") from error
    except (Exception, SystemExit) as error:  # a user's module can raise any error
        raise OwnCodeError(f"the module {name} cannot be imported: {describe_error(error)}") from error


def _missing(name: str) -> str:
    parent, _, last = name.rpartition(".")
    if parent:
        places = list(getattr(sys.modules[parent], "__path__", ()))
        if not places:
            return f"there is no module {name}: {parent} is not a package"
        looked = ", ".join(places)
    else:
        places = [str(folder) for folder in _folders]
        looked = ", ".join([*places, "and among the installed packages"])
    near = did_you_mean(last, [module.name for module in pkgutil.iter_modules(places)])
    return f"there is no module {name}{near} (looked in {looked})"


def _refuse_namesakes(name: str) -> None:
    """Raise `OwnCodeError` if the search folders contain a module `name`, but this process has imported a different
    module of that name."""
    here = PathFinder.find_spec(name, [str(folder) for folder in _folders])
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if here is None or here.origin is None or loaded is None:
        return
    if Path(here.origin).resolve() != Path(loaded).resolve():
        raise OwnCodeError(f"{here.origin} has the same name as another module, {loaded}; rename it")


def _digest(module: str) -> str:
    content = hashlib.sha256()
    for name in sorted(_closure(module)):
        spec = _spec(name)
        if spec is not None and spec.has_location and spec.origin:
            content.update(f"{name}\0".encode() + Path(spec.origin).read_bytes())
    return content.hexdigest()


def _closure(module: str) -> set[str]:
    """Return `module` and all modules that it imports, directly or not, from its package or uninstalled ones."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [other for other in _imports(name) if other not in seen and _belongs(other, module)]
    return seen


def _imports(name: str) -> Iterator[str]:
    """Yield the modules that the source of `name` imports or may import: `from a import b` gives `a` and `a.b`."""
    spec = _spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(Path(spec.origin).read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _belongs(name: str, module: str) -> bool:
    top = name.partition(".")[0]
    if top == "quorate" or top in sys.stdlib_module_names:
        return False
    if top != module.partition(".")[0]:
        spec = _spec(top)
        place = _place(spec) if spec is not None else None
        if place is None or _is_installed(place):
            return False
    return _spec(name) is not None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # the parent is not a package, or the module has no spec
        return None


def _place(spec: ModuleSpec) -> Path | None:
    """Return a package's folder, or a module's file."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.has_location else None


def _is_installed(place: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(place.parts):
        return True
    return any(place.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
