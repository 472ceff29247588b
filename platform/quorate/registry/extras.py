"""Look up the packages of an extra, and the command that installs them into the running environment."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

EXTRAS = ("boosting", "onnx")
"""The extras that kinds may require."""


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, such as `xgboost<4,>=3.0`; empty if Quorate is not installed."""
    try:
        lines = metadata("quorate").get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return []
    parts = [line.partition(";") for line in lines]
    return [
        what.strip() for what, _, marker in parts if f"extra=='{extra}'" in marker.replace('"', "'").replace(" ", "")
    ]


def requirement_name(line: str) -> str:
    """Return the package of a requirement: `xgboost` for `xgboost<4,>=3.0`."""
    end = next((i for i, sign in enumerate(line) if not (sign.isalnum() or sign in "-_.")), len(line))
    return line[:end]


def install_command(packages: Sequence[str]) -> str:
    """Return a shell command that installs `packages` into the environment of this Python.

    It names the packages, because `quorate[extra]` is not on a package index. An environment created by uv has no pip.
    """
    python = shlex.quote(sys.executable)
    wanted = " ".join(shlex.quote(package) for package in packages)
    if importlib.util.find_spec("pip") is not None:
        return f"{python} -m pip install {wanted}"
    own = Path(sys.prefix).parent / ".uv" / "bin" / "uv"  # as `make setup` installs it
    uv = shutil.which("uv") or (str(own) if own.is_file() else "uv")
    return f"{shlex.quote(uv)} pip install --python {python} {wanted}"


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra."""
    return install_command(requirements(extra) or [f"quorate[{extra}]"])


def how_to_install_package(package: str) -> str:
    """Return the command that installs an optional package with the other packages of its extra."""
    wanted = (lines for lines in map(requirements, EXTRAS) if package in map(requirement_name, lines))
    return install_command(next(wanted, [package]))
