"""Write the folder of a bundle, and verify it against its manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quorate.bundle.manifest import MANIFEST, BundleError, BundleManifest, read_manifest
from quorate.data.folders import is_debris
from quorate.errors import naming
from quorate.members.base import HEADER

LOSSES = "losses.npz"
"""The cross-fitted log-loss of each training row."""
KNOWN = "columns.json"
"""The values in each column of the training rows of a table; missing in bundles of earlier versions."""
UNSEEN = "unseen.npz"
"""Statistics of the cross-fitted predictions of the training rows, by models and combinations that were not fitted on
them."""

_PIECE = 8 << 20
"""Bytes of a piece in which files are copied: an assumption."""


class FileSource(Protocol):
    """A file of a bundle that is copied from another place; its content is never in memory as a whole."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of its content."""

    def copy(self, path: Path) -> None:
        """Write the content to `path`; raises an error if the content does not have the SHA-256."""


BundleFile = bytes | FileSource
"""A file of a bundle: its content, or where it is copied from."""


@dataclass(frozen=True)
class CopiedFile:
    """A file of another bundle, with its SHA-256 in the manifest of that bundle; a `FileSource`."""

    source: Path
    sha256: str

    def copy(self, path: Path) -> None:
        """Copy the file; raises `BundleError` if it was changed."""
        found = hashlib.sha256()
        with self.source.open("rb") as file, naming(path), path.open("wb") as target:
            while piece := file.read(_PIECE):
                found.update(piece)
                target.write(piece)
        if found.hexdigest() != self.sha256:
            raise _changed(self.source)


def hashes_of(files: Mapping[str, BundleFile]) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path."""
    return {
        name: hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else file.sha256
        for name, file in files.items()
    }


def write_bundle(folder: Path, manifest: BundleManifest, files: Mapping[str, BundleFile]) -> None:
    """Write a bundle as `FOLDER.partial`, then rename it; the keys of `files` are paths relative to the bundle."""
    assert manifest.files.keys() == files.keys(), "the manifest has the hash of every file"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, file in (*files.items(), (MANIFEST, manifest.to_bytes())):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(file, bytes):
                with naming(path):
                    path.write_bytes(file)
            else:
                file.copy(path)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def verified_manifest(folder: Path) -> BundleManifest:
    """Check the hash of every file in a bundle, and its combination; return its manifest. Raises `BundleError`."""
    manifest = read_manifest(folder)
    try:
        _verify(folder, manifest.files)
        for place in manifest.places:
            _verify_member(folder, place, manifest.files)
        _verify_combination(folder, manifest)
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder / MANIFEST} is not the manifest of a bundle: {error}") from None
    return manifest


def _verify_combination(folder: Path, manifest: BundleManifest) -> None:
    weights, members = len(manifest.combination.weights), len(manifest.members)
    if weights != members:
        raise BundleError(f"{folder / MANIFEST} has {members} members, but its combination has {weights} weights")
    try:
        manifest.combination.combination()
    except BundleError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}; restore the bundle from a copy") from None


def _verify(folder: Path, hashes: Mapping[str, str]) -> None:
    root = os.path.realpath(folder)
    for name, expected in hashes.items():
        path = folder / name
        if not os.path.realpath(path).startswith(root + os.sep):
            raise BundleError(f"{folder}: the manifest lists a file outside the bundle: {name}")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from None
        if found != expected:
            raise _changed(path)


def _changed(path: Path) -> BundleError:
    return BundleError(f"{path} does not match its SHA-256 in the manifest: it was changed or damaged")


def _verify_member(folder: Path, place: str, hashes: Mapping[str, str]) -> None:
    """Raise `BundleError` if a member's folder lacks its header, or holds a file that is not in the manifest.

    Files that tools leave in folders, such as `.DS_Store`, are ignored: no member reads them.
    """
    if f"{place}/{HEADER}" not in hashes:
        raise BundleError(
            f"{folder}: the manifest lists the member {place}, but not its files; restore the bundle from a copy"
        )
    for path in sorted((folder / place).rglob("*")):
        name = path.relative_to(folder).as_posix()
        debris = any(map(is_debris, path.relative_to(folder / place).parts))
        if path.is_file() and name not in hashes and not debris:
            raise BundleError(f"{folder}: {name} is not in the manifest, so it is not verified; remove it")
