"""Pack this package and other folders into ZIP files that are equal for equal content."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

_WHEN = (1980, 1, 1, 0, 0, 0)
"""The time of all files in an archive: the same job gives the same archive, which Ray does not send again."""


def pack_package(archive: Path) -> None:
    """Write only this package to a ZIP file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        add_package(packed)


def add_package(packed: zipfile.ZipFile) -> None:
    """Add this package."""
    package = Path(__file__).resolve().parents[1]
    add_files(packed, package.name, package)


def add_files(packed: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add a file under a name, or all files in a folder below it."""
    for below, file in files_in(path):
        add_content(packed, f"{name}/{below}" if below else name, file.read_bytes())


def add_content(packed: zipfile.ZipFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Add a file with this content."""
    entry = zipfile.ZipInfo(name, _WHEN)
    entry.external_attr = mode << 16
    packed.writestr(entry, content, zipfile.ZIP_DEFLATED)


def files_in(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or all files in a folder, with their names relative to it; links are followed."""
    if path.is_file():
        yield "", path
        return
    for root, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            file = Path(root) / name
            yield file.relative_to(path).as_posix(), file
