"""Optional packages: what an extra brings, and the command that installs it into the running environment."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path


def requirements(extra: str) -> list[str]:
    """What an extra of Quorate asks for, such as `lightgbm<5,>=4.5`; empty where Quorate itself is not installed."""
    try:
        lines = metadata("quorate").get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return []
    parts = [line.partition(";") for line in lines]
    return [
        what.strip() for what, _, marker in parts if f"extra=='{extra}'" in marker.replace('"', "'").replace(" ", "")
    ]


def install_command(packages: Sequence[str]) -> str:
    """A shell command that installs `packages` into the environment of this Python.

    It names the packages, as `quorate[extra]` is not on a package index; an environment that uv made has no pip.
    """
    python = shlex.quote(sys.executable)
    wanted = " ".join(shlex.quote(package) for package in packages)
    if importlib.util.find_spec("pip") is not None:
        return f"{python} -m pip install {wanted}"
    own = Path(sys.prefix).parent / ".uv" / "bin" / "uv"  # as `make setup` installs it
    uv = shutil.which("uv") or (str(own) if own.is_file() else "uv")
    return f"{shlex.quote(uv)} pip install --python {python} {wanted}"


def how_to_install(extra: str, package: str = "") -> str:
    """The command for an extra, or for one `package` of it."""
    found = requirements(extra)
    return install_command([line for line in found if line.startswith(package)] or [package or f"quorate[{extra}]"])
