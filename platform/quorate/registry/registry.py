"""Map names to kinds; there is one registry for each sort of kind, such as member kinds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, TypeVar

from quorate.errors import did_you_mean
from quorate.registry import own_code
from quorate.registry.own_code import OwnCodeError

__all__ = ["Registry", "UnknownKind", "did_you_mean"]

T = TypeVar("T")


class UnknownKind(ValueError):
    """A name that is not registered; the message lists the valid names and suggests the closest one."""

    def __init__(self, what: str, name: object, choices: list[str]) -> None:
        super().__init__(
            f"unknown {what} {name!r}{did_you_mean(str(name), choices)} (choose from {', '.join(choices)})"
        )


class Registry(Generic[T]):
    """The kinds of one sort, by name.

    A kind registers itself where it is defined. `package` (a module, or a package with all its modules)
    is imported at the first look-up. A new kind therefore needs only one new file, and `import quorate`
    stays fast.

    Users' own kinds are named `module:name`, or are entry points of installed packages in `group`. `adopt` is the
    reference (`module:function`) of a function of Quorate that creates a kind from a name and the object found under
    that name.
    """

    def __init__(self, what: str, package: str, *, group: str = "", adopt: str = "") -> None:
        self.what = what
        self.group = group
        self._package = package
        self._adopt = adopt
        self._kinds: dict[str, T] = {}
        self._own: dict[str, tuple[object, T]] = {}
        self._references: dict[str, str] = {}
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
        """Return the names of the built-in kinds and of those of installed packages."""
        self._discover()
        return sorted({*self._kinds, *own_code.installed(self.group)})

    def get(self, name: str) -> T:
        """Return the kind called `name`, or the family (such as `timm/`) whose prefix the name has.

        Raises `UnknownKind`, or `OwnCodeError` for a user's own kind that cannot be used.
        """
        if self._adopt and ":" in name:
            return self._adopted(name, name)
        stem, slash, rest = name.partition("/")
        key = stem + slash
        if key not in self._kinds:
            self._import_module_of(stem)
        if key not in self._kinds:
            self._discover()
        if key in self._kinds and (rest or not slash):
            return self._kinds[key]
        if (reference := self.reference(name)) is not None:
            return self._adopted(name, reference)
        choices = [f"{known}NAME" if known.endswith("/") else known for known in self.names()]
        raise UnknownKind(self.what, name, choices)

    def reference(self, name: str) -> str | None:
        """Return the reference `module:name` of a user's own kind; None for a built-in kind and for an unknown name."""
        if self._adopt and ":" in name:
            return name
        if name.partition("/")[0] in self._kinds or f"{name.partition('/')[0]}/" in self._kinds:
            return None
        point = own_code.installed(self.group).get(name)
        return f"{point.module}:{point.attr}" if point is not None else None

    def _adopted(self, name: str, reference: str) -> T:
        """Return the kind made from a user's own code; it is made once per object."""
        try:
            found = own_code.find(reference, plugin=name != reference)
        except OwnCodeError as error:
            raise OwnCodeError(f"{self.what} {self._called(name, reference)}: {error}") from error
        present = self._own.get(name)
        if present is None or present[0] is not found:
            module, _, function = self._adopt.partition(":")
            adopt: Callable[[str, Any], T] = getattr(importlib.import_module(module), function)
            try:
                present = (found, adopt(name, found))
            except OwnCodeError as error:
                raise OwnCodeError(f"{self.what} {self._called(name, reference)}: {error}") from error
            self._own[name], self._references[name] = present, reference
        return present[1]

    def adopted(self) -> list[tuple[str, str, T]]:
        """Return (name, `module:name`, kind) of the users' own kinds that this process has looked up."""
        return [(name, self._references[name], kind) for name, (_, kind) in self._own.items()]

    def _called(self, name: str, reference: str) -> str:
        return reference if name == reference else f"{name} (entry point {reference})"

    def _import_module_of(self, stem: str) -> None:
        """Import only the module that has the name of the kind, to save the time of importing all the others."""
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
