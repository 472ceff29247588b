"""Inspect pictures in class folders. All files are decoded, or a sample if there are very many."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quorate.autoconfig.fingerprint import Fingerprint, Hashes, ImageFacts, Range, repeats_of
from quorate.autoconfig.source import DataLocation
from quorate.data.folders import ClassFolders, class_folders
from quorate.data.images import OWN, ImageError, decode_image, size_of
from quorate.errors import UserError

MOST_FILES = 20_000
"""Maximum number of files to decode, to limit the time of `quorate init`; if there are more, a sample is drawn. An
assumption, not a measurement."""

NAMED = 10
"""Maximum number of corrupt files to list."""

_MOSTLY = 0.99
"""Minimum fraction of grey pictures for all pictures to be read as grey. An assumption, not a measurement."""
_SAME = 3
"""Maximum difference between the red, green and blue values (0 to 255) of a pixel in a grey picture: JPEG compression
changes them slightly. An assumption, not a measurement."""


@dataclass(frozen=True)
class _Picture:
    path: Path
    bytes: int = 0
    hash: int = 0
    width: int = 0
    height: int = 0
    grey: bool = False
    error: str = ""


@dataclass(frozen=True)
class _FolderFacts:
    found: ClassFolders
    seen: list[_Picture]
    counts: Counter[str]
    """Number of files per class, except files that are known to be corrupt."""
    sizes: int

    @property
    def root(self) -> Path:
        return self.found.root

    @property
    def total(self) -> int:
        return len(self.found.pictures)

    @property
    def good(self) -> list[_Picture]:
        return [picture for picture in self.seen if not picture.error]

    @property
    def corrupt(self) -> list[str]:
        return [f"{picture.path}: {picture.error}" for picture in self.seen if picture.error]

    @property
    def hashes(self) -> Hashes:
        return np.array([picture.hash for picture in self.good], np.uint64)


def inspect_folder(source: DataLocation) -> Fingerprint:
    """Rows, classes, sizes, colour, repeated and corrupt files; raises `UserError` if no picture is usable."""
    train = _inspect(source.train)
    test = _inspect(source.test) if source.test else None
    folders = [folder for folder in (train, test) if folder]
    classes = {name: train.counts[name] for name in sorted(train.counts) if train.counts[name]}
    if test and (unknown := sorted(name for name, count in test.counts.items() if count and name not in classes)):
        raise UserError(
            f"{test.root} has the classes {', '.join(unknown[:5])}, but {train.root} does not; rename or remove them, "
            "or choose another test folder with --test"
        )
    names = list(classes)
    y = np.array([names.index(picture.path.parent.name) for picture in train.good], np.int64)
    heights, widths = (
        np.array([getattr(p, side) for folder in folders for p in folder.good]) for side in ("height", "width")
    )
    grey = float(np.mean([picture.grey for folder in folders for picture in folder.good]))
    lost = [name for name in train.counts if name not in classes]
    notes = [f"no picture of the class {name} can be decoded; the class is left out" for name in lost]
    notes += [note for folder in folders for note in folder.found.notes]
    return Fingerprint(
        source,
        classes,
        None if test is None else sum(test.counts.values()),
        sum(folder.sizes for folder in folders),
        repeats_of(train.hashes, y, None if test is None else test.hashes),
        ImageFacts(
            Range.of(heights),
            Range.of(widths),
            Range.of(np.minimum(heights, widths)),
            channels=1 if grey >= _MOSTLY else 3,
            grey=grey,
            files=sum(folder.total for folder in folders),
            corrupt=tuple(line for folder in folders for line in folder.corrupt),
        ),
        tuple(
            f"sizes, corrupt files and repeated files: only a sample of {len(folder.seen):,} of the {folder.total:,} "
            f"files in {folder.root} was checked"
            for folder in folders
            if len(folder.seen) < folder.total
        ),
        (*source.notes, *notes),
    )


def _inspect(root: Path) -> _FolderFacts:
    found = class_folders(root)
    paths = found.pictures
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(_decode, _sample(paths)))
    folder = _FolderFacts(
        found,
        seen,
        Counter(path.parent.name for path in paths),
        sum(path.stat().st_size for path in paths if path.exists()),
    )
    folder.counts.subtract(Counter(picture.path.parent.name for picture in seen if picture.error))
    if not folder.good:
        listed = "\n  ".join(folder.corrupt[:NAMED])
        raise UserError(f"none of the {len(seen):,} pictures in {root} can be decoded:\n  {listed}\nreplace them")
    return folder


def _sample(paths: Sequence[Path]) -> list[Path]:
    if len(paths) <= MOST_FILES:
        return list(paths)
    drawn = np.sort(np.random.default_rng(0).permutation(len(paths))[:MOST_FILES])
    return [paths[i] for i in drawn]


def _decode(path: Path) -> _Picture:
    try:
        data = path.read_bytes()
        pixels = decode_image(data, shape=(16, 16, 3), accepted=OWN).astype(int)
    except (ImageError, OSError) as error:
        return _Picture(path, error=getattr(error, "strerror", None) or str(error))
    width, height = size_of(data)
    return _Picture(
        path,
        len(data),
        int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little"),
        width,
        height,
        bool(np.ptp(pixels, axis=2).max() <= _SAME),
    )
