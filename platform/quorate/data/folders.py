"""Find the pictures in a folder, with the same rules for training, `init`, `predict` and `evaluate`."""

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
"""File name extensions of the formats in `images.OWN`, in lower case."""

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
"""Lower-case names that tools create in folders, besides hidden names (`.DS_Store`, `.ipynb_checkpoints`)."""

_MAYBE_CLASSES = {"lost+found": "fsck puts pieces of files", "recycler": "old versions of Windows put deleted files"}
"""Lower-case names of folders that tools create, but that may also be class names: they are read, with a note."""

_NO_PICTURE = (".bak", ".crdownload", ".orig", ".part", ".tmp", "~", "_original")
"""File name endings of copies and unfinished downloads, which are never read."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
"""First bytes of JPEG, PNG and GIF files. A file with these, or those of WebP or AVIF, is a picture whatever its name.

TIFF is left out, because raw files of cameras start in the same way.
"""
_LISTED = 3
"""Maximum number of names in a message."""


def is_debris(name: str) -> bool:
    """Return whether a file or folder of this name is hidden or was created by a tool, and so is not data."""
    return name.startswith(".") or name.lower() in _DEBRIS


def is_picture(path: Path) -> bool:
    """Return whether a file has the extension or the content of a picture."""
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
        """Sentences on what is left out, and on pictures that are neither JPEG nor PNG."""
        notes = [
            f"{self.root}: pictures in folders called {name} are read, such as {path}, but {who} into such folders; if "
            "these are not your pictures, move the folder away"
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
    """`ROOT/CLASS/FILE`: the pictures of each class, and pictures without a class."""

    empty: list[str] = field(default_factory=list)
    """Folders without pictures, which are not classes."""
    loose: list[Path] = field(default_factory=list)
    """Pictures outside the class folders."""
    deeper: list[Path] = field(default_factory=list)
    """Pictures in subfolders of the class folders."""

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.empty:
            names = listed([repr(name) for name in self.empty])
            notes.append(f"folders without pictures are not classes: {names}")
        if self.loose:
            notes.append(f"{_pictures(self.loose)} outside the class folders, not read, such as {self.loose[0].name}")
        if self.deeper:
            notes.append(
                f"{_pictures(self.deeper)} in subfolders of the class folders, not read, such as {self.deeper[0]}"
            )
        return (*(f"{self.root}: {note}" for note in notes), *super().notes)


def pictures_below(root: Path) -> PictureFolder:
    """Find all pictures below `root`, at any depth, following links. Raises `DataError` if there are none."""
    pictures, others = _split(sorted(path for path, _ in _walk(root, 1)))
    found = PictureFolder(root, pictures, others)
    if not pictures:
        raise DataError(_problem(found, f"{root} has no pictures ({OWN.names})"))
    return found


def class_folders(root: Path) -> ClassFolders:
    """Find the pictures in the folders of `root`, which are the classes; raises `DataError` if there are none."""
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
        raise DataError(_problem(found, f"{root} has no folders with pictures; it must contain one folder per class"))
    return found


def _walk(
    folder: Path, depth: int, folders: list[str] | None = None, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Path, int]]:
    """Yield the files below `folder` with their depth, except files of tools, and add the names of its subfolders to
    `folders`.

    Links are followed, except links to a folder `above`, which would form a cycle.
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
    """Return whether there is a picture below a folder. A folder that cannot be read, such as `lost+found`, counts as
    one without."""
    return os.access(folder, os.R_OK | os.X_OK) and any(is_picture(path) for path, _ in _walk(folder, 1, None, above))


def _first_in(name: str, pictures: Sequence[Path], root: Path) -> Path | None:
    """Return the first picture below `root` in a folder of this name, ignoring case."""
    inside = (path for path in pictures if name in map(str.lower, path.relative_to(root).parts[:-1]))
    return next(inside, None)


def _is_special(path: Path) -> bool:
    """Return whether a link points to a pipe, a socket or a device. A broken link counts as an unreadable file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the pictures and the other files."""
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
    """List files by extension, most frequent first: `2 .heic (a.heic, b.heic), 1 .txt (notes.txt)`."""
    by_ending: dict[str, list[str]] = {}
    for path in paths:
        by_ending.setdefault(path.suffix.lower() or "without an ending", []).append(path.name)
    parts = []
    for ending, names in sorted(by_ending.items(), key=lambda item: (-len(item[1]), item[0])):
        parts.append(f"{len(names):,} {ending}" + (f" ({listed(names)})" if named else ""))
    return ", ".join(parts)


def _problem(found: PictureFolder, message: str) -> str:
    """Return the message, followed by notes on what the folder contains instead."""
    return "\n  ".join([message, *found.notes])


def listed(names: Sequence[str]) -> str:
    """List the first names: `a, b, c and 4 more`."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _pictures(paths: Sequence[Path]) -> str:
    return f"{len(paths):,} picture{'s' if len(paths) > 1 else ''}"
