"""Which files of a folder are pictures: one rule for training, `init`, `predict` and `evaluate`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quorate.data.images import OWN
from quorate.data.source import DataError

_OF_FORMAT = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".pnm", ".pbm", ".pgm", ".ppm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
}
SUFFIXES = frozenset(suffix for form in OWN.formats for suffix in _OF_FORMAT[form])
"""Endings of the formats in `images.OWN`, in lower case."""

_USUAL = {".jpg", ".jpeg", ".png"}
_DEBRIS = {
    "#recycle": "Synology's bin",
    "#snapshot": "Synology's snapshots",
    "$recycle.bin": "Windows' bin",
    "@eadir": "Synology's thumbnails",
    "@recycle": "QNAP's bin",
    "@recently-snapshot": "QNAP's snapshots",
    "__macosx": "resource forks in ZIP archives of macOS",
    "__pycache__": "Python's compiled modules",
    "desktop.ini": "Windows' view of a folder",
    "ehthumbs.db": "Windows' thumbnails",
    "icon\r": "a folder's icon of macOS",
    "system volume information": "Windows' index",
    "thumbs.db": "Windows' thumbnails",
}
"""Names in lower case of what tools leave in folders, besides hidden names (`.DS_Store`, `.ipynb_checkpoints`)."""

_MAYBE_CLASSES = {"lost+found": "fsck puts pieces of files", "recycler": "old versions of Windows put deleted files"}
"""Folders of these names, in lower case, that hold pictures are read, and named: a class may be called so."""

_NO_PICTURE = (".bak", ".crdownload", ".orig", ".part", ".tmp", "~", "_original")
"""Endings of copies and of unfinished downloads: not read, whatever their content."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
"""How JPEG, PNG and GIF files start. A file of another ending that starts so, or as WebP and AVIF do, is a picture.

Not so TIFF: cameras' raw files start alike.
"""
_LISTED = 3


def is_debris(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was left by a tool: it is no data."""
    return name.startswith(".") or name.lower() in _DEBRIS


def is_picture(path: Path) -> bool:
    """Whether a file has the ending of a picture, or the content of one."""
    name = path.name.lower()
    if name.endswith(_NO_PICTURE):
        return False
    return path.suffix.lower() in SUFFIXES or _starts_as_picture(path)


@dataclass(frozen=True)
class PictureFolder:
    """Pictures below a folder, in the order of their paths, and the files that are not read."""

    root: Path
    pictures: list[Path]
    others: list[Path]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is left out, and what is read besides JPEG and PNG, in sentences."""
        notes = [
            f"{self.root}: pictures in folders called {name} are read, such as {path}; {who} into such folders: move "
            "the folder away if these are not your pictures"
            for name, who in _MAYBE_CLASSES.items()
            if (path := _first_in(name, self.pictures, self.root)) is not None
        ]
        if {path.suffix.lower() for path in self.pictures} - _USUAL:
            notes.append(f"{self.root}: the pictures are {_by_ending(self.pictures)}")
        if self.others:
            many = len(self.others) > 1
            files = f"{len(self.others):,} file{'s are' if many else ' is'} not read"
            notes.append(f"{self.root}: {files}: {_by_ending(self.others, named=True)}")
        return tuple(notes)


@dataclass(frozen=True)
class ClassFolders(PictureFolder):
    """`ROOT/CLASS/FILE`: the pictures of each class, and what belongs to no class."""

    empty: list[str] = field(default_factory=list)
    """Folders without a picture, which make no class."""
    loose: list[Path] = field(default_factory=list)
    """Pictures outside of the class folders."""
    deeper: list[Path] = field(default_factory=list)
    """Pictures in folders of the class folders."""

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.empty:
            names = listed([repr(name) for name in self.empty])
            notes.append(f"folders without pictures are not classes: {names}")
        if self.loose:
            notes.append(f"{_pictures(self.loose)} outside the class folders: not read, such as {self.loose[0].name}")
        if self.deeper:
            notes.append(f"{_pictures(self.deeper)} below the class folders: not read, such as {self.deeper[0]}")
        return (*(f"{self.root}: {note}" for note in notes), *super().notes)


def pictures_below(root: Path) -> PictureFolder:
    """All pictures below `root`, at any depth; linked folders are followed. Raises `DataError` where there are none."""
    pictures, others = _split(sorted(path for path, _ in _walk(root, 1)))
    found = PictureFolder(root, pictures, others)
    if not pictures:
        raise DataError(_problem(found, f"{root} has no pictures ({OWN.names})"))
    return found


def class_folders(root: Path) -> ClassFolders:
    """The pictures in the folders of `root`, each of which is a class; raises `DataError` where there are none."""
    by_depth: dict[int, list[Path]] = {}
    folders: list[str] = []
    for path, depth in _walk(root, 1, folders):
        by_depth.setdefault(min(depth, 3), []).append(path)
    loose, loose_others = _split(sorted(by_depth.get(1, [])))
    pictures, others = _split(sorted(by_depth.get(2, [])))
    deeper, _ = _split(sorted(by_depth.get(3, [])))
    known = {path.parent.name for path in pictures}
    found = ClassFolders(
        root,
        pictures,
        sorted([*loose_others, *others]),
        empty=sorted(name for name in folders if name not in known),
        loose=loose,
        deeper=deeper,
    )
    if not pictures:
        raise DataError(_problem(found, f"{root} has no folders with pictures; one folder for each class is needed"))
    return found


def _walk(
    folder: Path, depth: int, folders: list[str] | None = None, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Path, int]]:
    """Files below `folder` with their depth, without what tools left; `folders` takes the names of its own folders.

    Links are followed, but for those to a folder `above`, which would go round in a circle.
    """
    try:
        found = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from None
    own = (found.st_dev, found.st_ino)
    if own in above:
        return
    for entry in entries:
        if is_debris(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir()):
            if entry.name.lower() in _MAYBE_CLASSES and not _holds_pictures(folder / entry.name, above | {own}):
                continue
            if folders is not None:
                folders.append(entry.name)
            yield from _walk(folder / entry.name, depth + 1, None, above | {own})
        elif entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not _is_special(Path(entry.path))):
            yield folder / entry.name, depth


def _holds_pictures(folder: Path, above: frozenset[tuple[int, int]]) -> bool:
    """Whether there is a picture below a folder; `lost+found` may be one that only the superuser can read."""
    return os.access(folder, os.R_OK | os.X_OK) and any(is_picture(path) for path, _ in _walk(folder, 1, None, above))


def _first_in(name: str, pictures: Sequence[Path], root: Path) -> Path | None:
    """The first picture in a folder of this name, whatever its case, below `root`."""
    inside = (path for path in pictures if name in map(str.lower, path.relative_to(root).parts[:-1]))
    return next(inside, None)


def _is_special(path: Path) -> bool:
    """Whether a link leads to a pipe, a socket or a device; one that leads nowhere is a file that cannot be read."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Pictures and other files."""
    pictures: list[Path] = []
    others: list[Path] = []
    for path in paths:
        (pictures if is_picture(path) else others).append(path)
    return pictures, others


def _starts_as_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return webp or start[4:12] == b"ftypavif" or start.startswith(_SIGNATURES)


def _by_ending(paths: Sequence[Path], *, named: bool = False) -> str:
    """`2 .heic (a.heic, b.heic), 1 .txt (notes.txt)`, the most frequent ending first."""
    by_ending: dict[str, list[str]] = {}
    for path in paths:
        by_ending.setdefault(path.suffix.lower() or "without an ending", []).append(path.name)
    parts = []
    for ending, names in sorted(by_ending.items(), key=lambda item: (-len(item[1]), item[0])):
        parts.append(f"{len(names):,} {ending}" + (f" ({listed(names)})" if named else ""))
    return ", ".join(parts)


def _problem(found: PictureFolder, message: str) -> str:
    """The message with what is there instead."""
    return "\n  ".join([message, *found.notes])


def listed(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _pictures(paths: Sequence[Path]) -> str:
    return f"{len(paths):,} picture{'s' if len(paths) > 1 else ''}"
