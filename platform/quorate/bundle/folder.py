"""Write the folder of a bundle, and verify it against its manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

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


def write_bundle(folder: Path, manifest: BundleManifest, files: Mapping[str, bytes]) -> None:
    """Write a bundle as `FOLDER.partial`, then rename it; the keys of `files` are paths relative to the bundle."""
    assert manifest.files.keys() == files.keys(), "the manifest has the hash of every file"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, content in (*files.items(), (MANIFEST, manifest.to_bytes())):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                path.write_bytes(content)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def verified_manifest(folder: Path) -> BundleManifest:
    """Check the hash of every file in a bundle, and return its manifest; raises `BundleError`."""
    manifest = read_manifest(folder)
    try:
        _verify(folder, manifest.files)
        for place in manifest.places:
            _verify_member(folder, place, manifest.files)
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder / MANIFEST} is not the manifest of a bundle: {error}") from None
    return manifest


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
            raise BundleError(f"{path} does not match its SHA-256 in the manifest: it was changed or damaged")


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
