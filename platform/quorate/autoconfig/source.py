"""Find the data at a path: the kind of data, the training rows, and test rows next to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from quorate.data.folders import SUFFIXES, is_debris, is_picture
from quorate.data.given import GivenData
from quorate.data.images import OWN
from quorate.errors import UserError

SourceKind = Literal["npz", "image_folder", "csv", "parquet"]

TESTS = ("test", "val", "valid", "validation", "dev")
"""Usual names of files and folders with test rows, most reliable first."""

_ENDINGS: dict[str, SourceKind] = {
    ".npz": "npz",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_OTHER_PICTURES = {".heic", ".heif", ".svg", ".pdf", ".psd", ".dng", ".cr2", ".nef", ".arw"}
_KNOWN = (
    "an .npz with images and labels, a folder with one folder of pictures per class, or a table "
    "(.csv, .tsv, .csv.gz, .parquet)"
)
_FIXES = {
    ".npy": "save images and labels together: numpy.savez('data.npz', images=images, labels=labels)",
    ".xlsx": "save the sheet as CSV in UTF-8",
    ".xls": "save the sheet as CSV in UTF-8",
    ".json": "turn it into CSV or Parquet, for example pandas.read_json(...).to_parquet('data.parquet')",
    ".jsonl": "turn it into CSV or Parquet, for example pandas.read_json(..., lines=True).to_parquet('data.parquet')",
    ".zip": "unpack it and give the folder",
    ".tar": "unpack it and give the folder",
    ".gz": "unpack it and give the file inside",
    ".tgz": "unpack it and give the folder",
    ".txt": "if it is a table with column names in its first line, rename it to .csv (commas) or .tsv (tabs)",
    ".data": "add a first line with the column names, and rename the file to .csv",
}


@dataclass(frozen=True)
class DataLocation:
    """The location of the rows; `notes` lists data next to them that are not used."""

    kind: SourceKind
    train: Path
    test: Path | None = None
    notes: tuple[str, ...] = ()
    given: GivenData = field(default_factory=GivenData)
    """The data that were given, with the URLs of those that were copied."""

    @property
    def name(self) -> str:
        """A name for the data."""
        own, url = _stem(self.train), self.given.url_of(self.train)
        whole = self.train.absolute() if url is None else PurePosixPath(url.partition("://")[2])
        if url is not None and self.train.is_dir():
            own = whole.name
        return own if own not in ("train", "training", "data") else whole.parent.name


def find_source(data: Path, test: Path | None = None) -> DataLocation:
    """Find the rows at `data`, and test rows next to them unless `test` is given. The message of a `UserError` says how
    to fix the problem."""
    for path in filter(None, (data, test)):
        if not path.exists():
            raise UserError(f"{path} does not exist")
    found = _in_folder(data) if data.is_dir() else _file(data)
    if test is None:
        return found
    own = _in_folder(test) if test.is_dir() else _file(test)
    if own.kind != found.kind:
        raise UserError(
            f"--test {test} is of the kind {own.kind}, but {data} is of the kind {found.kind}; give test rows of the "
            "same kind"
        )
    return replace(found, test=own.train, notes=())


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(_ending(path))] if not path.is_dir() else path.name


def _file(path: Path) -> DataLocation:
    kind = _ENDINGS.get(_ending(path))
    if kind is None:
        if path.suffix.lower() in SUFFIXES | _OTHER_PICTURES:
            raise UserError(
                f"{path} is a single picture; give the folder that contains one folder of pictures per class"
            )
        fix = _FIXES.get(path.suffix.lower())
        raise UserError(f"{path} has an unknown format; " + (fix or f"Quorate reads {_KNOWN}"))
    if _stem(path) != "train":
        return DataLocation(kind, path)
    return _with_tests(kind, path, (entry for entry in path.parent.iterdir() if entry.is_file()))


def _with_tests(kind: SourceKind, train: Path, candidates: Iterable[Path]) -> DataLocation:
    """The location of `train`, with the first of the `candidates` of the same kind that is named like test rows."""
    named = {
        _stem(path): path
        for path in sorted(candidates)
        if not is_debris(path.name) and (kind == "image_folder" or _ENDINGS.get(_ending(path)) == kind)
    }
    first, *rest = [*(named[name] for name in TESTS if name in named), None]
    notes = tuple(
        f"{path} is not used: the job splits its validation rows from the training rows" for path in rest if path
    )
    return DataLocation(kind, train, first, notes)


def _in_folder(folder: Path) -> DataLocation:
    entries = sorted(path for path in folder.iterdir() if not is_debris(path.name))
    files = [path for path in entries if path.is_file() and _ending(path) in _ENDINGS]
    train = [path for path in files if _stem(path) == "train"]
    if len(train) == 1:
        return _with_tests(_ENDINGS[_ending(train[0])], train[0], files)
    if (folder / "train").is_dir() and not train:
        inner = _in_folder(folder / "train")
        if inner.train == folder / "train":
            candidates = (path for path in entries if path.is_dir())
            found = _with_tests("image_folder", inner.train, candidates)
            return replace(found, kind=inner.kind)
        return inner
    if len(files) == 1:
        return DataLocation(_ENDINGS[_ending(files[0])], files[0])
    if files and all(_ENDINGS[_ending(path)] == "parquet" for path in files):
        return DataLocation("parquet", folder)
    if files:
        listed = ", ".join(path.name for path in files[:10])
        raise UserError(f"{folder} contains several data files ({listed}); give the one with the training rows")
    if _some(folder, "*/*"):
        return DataLocation("image_folder", folder)
    raise _nothing(folder)


def _some(folder: Path, pattern: str, endings: Iterable[str] | None = None) -> Path | None:
    """A picture, or a file with one of these endings, ignoring files left by tools."""
    for path in sorted(folder.glob(pattern)):
        if any(is_debris(part) for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if is_picture(path) if endings is None else path.suffix.lower() in endings:
            return path
    return None


def _nothing(folder: Path) -> UserError:
    if direct := _some(folder, "*"):
        return UserError(
            f"{folder} contains pictures ({direct.name}, …) but no folders; put the pictures of each class into a "
            "folder with the name of the class"
        )
    if deeper := _some(folder, "*/*/*"):
        return UserError(
            f"the pictures of {folder} are in nested subfolders, e.g. {deeper.relative_to(folder)}; give the folder "
            f"that contains the class folders, e.g. {deeper.parents[1]}"
        )
    if other := _some(folder, "*/*", _OTHER_PICTURES) or _some(folder, "*", _OTHER_PICTURES):
        return UserError(f"{other} has an unsupported format; save the pictures as {OWN.names}")
    held = ", ".join(path.name for path in islice(sorted(folder.iterdir()), 8)) or "nothing"
    return UserError(f"{folder} contains no data that Quorate can read (it contains {held}); expected {_KNOWN}")
