"""Look up the packages of an extra, and the command that installs them into the running environment."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, such as `lightgbm<5,>=4.5`; empty if Quorate is not installed."""
    try:
        lines = metadata("quorate").get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return []
    parts = [line.partition(";") for line in lines]
    return [
        what.strip() for what, _, marker in parts if f"extra=='{extra}'" in marker.replace('"', "'").replace(" ", "")
    ]


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


def how_to_install(extra: str, package: str = "") -> str:
    """Return the command that installs an extra, or one `package` of it."""
    found = requirements(extra)
    return install_command([line for line in found if line.startswith(package)] or [package or f"quorate[{extra}]"])
