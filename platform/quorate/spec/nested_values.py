"""Set a value at a dotted path in the parameters of a member, as a job file would contain them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def set_nested(given: dict[str, Any], path: str, value: Any, default: Callable[[str], Any]) -> None:
    """Set the value at `path`; raises `ValueError` if a key on the way has no keys of its own.

    `default` returns the default of a first key that is missing. The name of a kind on the way becomes a mapping.
    """
    inner, keys = given, path.split(".")
    for key in keys[:-1]:
        below = inner.get(key, default(key) if inner is given else None)
        if not isinstance(below, str | dict | None):
            raise ValueError(f"{path}: {key} is {below!r}, which has no keys")
        inner[key] = {"kind": below} if isinstance(below, str) else below or {}
        inner = inner[key]
    inner[keys[-1]] = value
