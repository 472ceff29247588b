"""Names to kinds: one registry for each thing that a job file can choose."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Generic, TypeVar

T = TypeVar("T")


class UnknownKind(ValueError):
    """A name that no registry entry has; the message lists the valid names and the nearest one."""

    def __init__(self, what: str, name: object, choices: list[str]) -> None:
        super().__init__(
            f"unknown {what} {name!r}{did_you_mean(str(name), choices)} (choose from {', '.join(choices)})"
        )


def did_you_mean(word: str, choices: list[str]) -> str:
    """``"; did you mean 'x'?"`` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class Registry(Generic[T]):
    """The kinds of one thing by name.

    A kind registers itself where it is defined; `package` (a module, or a package with all its modules)
    is imported at the first look-up, so that a new kind is one new file and nothing else, and
    `import quorate` stays fast.
    """

    def __init__(self, what: str, package: str) -> None:
        self.what = what
        self._package = package
        self._kinds: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        def add(kind: T) -> T:
            present = self._kinds.get(name)
            if present is not None and getattr(present, "__module__", None) != getattr(kind, "__module__", None):
                raise ValueError(f"{self.what} {name!r} is already registered by {present!r}")
            self._kinds[name] = kind
            return kind

        return add

    def names(self) -> list[str]:
        self._discover()
        return sorted(self._kinds)

    def get(self, name: str) -> T:
        """The kind called `name`, or the family (`timm/`) that the name starts with; raises `UnknownKind`."""
        stem, slash, rest = name.partition("/")
        key = stem + slash
        if key not in self._kinds:
            self._import_module_of(stem)
        if key not in self._kinds:
            self._discover()
        if key not in self._kinds or (slash and not rest):
            choices = [f"{known}NAME" if known.endswith("/") else known for known in sorted(self._kinds)]
            raise UnknownKind(self.what, name, choices)
        return self._kinds[key]

    def _import_module_of(self, stem: str) -> None:
        """Import the one module that is called like the kind, so that no other is paid for."""
        package = importlib.import_module(self._package)
        if stem.isidentifier() and any(module.name == stem for module in pkgutil.iter_modules(_path_of(package))):
            importlib.import_module(f"{self._package}.{stem}")

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(_path_of(package)):
            importlib.import_module(f"{self._package}.{module.name}")
        self._discovered = True


def _path_of(package: ModuleType) -> list[str]:
    return list(getattr(package, "__path__", ()))
