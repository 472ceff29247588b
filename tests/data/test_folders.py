"""Which files of a folder are read as pictures, which are skipped, and how this is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from quorate.autoconfig.folder import inspect_folder
from quorate.autoconfig.source import DataLocation, find_source
from quorate.data.folders import class_folders, pictures_below
from quorate.data.source import DataError
from quorate.data.sources.image_folder import ImageFolder, ImageFolderParams

Write = Callable[[str], Path]

DEBRIS = [
    ".ipynb_checkpoints/a-checkpoint.png",
    ".thumbnails/a.png",
    ".git/a.png",
    "@eaDir/a.png",
    "@EADIR/a.png",
    "__MACOSX/a.png",
    "$RECYCLE.BIN/a.png",
    "System Volume Information/a.png",
    "cat/._0.png",
    "cat/.hidden.png",
    "cat/.DS_Store",
    "cat/Thumbs.db",
    "cat/desktop.ini",
    "cat/@eaDir/0.png",
    "cat/.ipynb_checkpoints/0-checkpoint.png",
    ".DS_Store",
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a picture below `photos`, whatever its name."""

    def write(name: str) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (sum(map(ord, name)) % 256, 0, 0)).save(path, "PNG")
        return path

    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
        write(name)
    return write


@pytest.mark.parametrize("name", DEBRIS)
def test_files_of_other_tools_are_silently_ignored(write: Write, tmp_path: Path, name: str) -> None:
    root = tmp_path / "photos"
    write(name)

    opened = ImageFolder.open(ImageFolderParams(train=root, size=6))
    looked = inspect_folder(DataLocation("image_folder", root))

    assert (opened.train.class_names, len(opened.train), opened.notes) == (("cat", "dog"), 4, ())
    assert (dict(looked.classes), looked.notes) == ({"cat": 2, "dog": 2}, ())
    assert len(pictures_below(root).pictures) == 4
    assert find_source(root).train == root


def test_a_hidden_folder_is_read_if_the_job_names_it(write: Write, tmp_path: Path) -> None:
    write(".cache/owl/0.png")

    assert class_folders(tmp_path / "photos/.cache").pictures == [tmp_path / "photos/.cache/owl/0.png"]


def test_skipped_files_are_counted_and_named(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "owl").mkdir()
    for name in ("cat/a.heic", "cat/b.heic", "dog/c.svg", "notes.txt"):
        (root / name).write_bytes(b"\0\0\0\x18ftypheic")
    write("loose.png")
    deeper = write("dog/old/3.png")

    notes = ImageFolder.open(ImageFolderParams(train=root, size=6)).notes

    assert notes == (
        f"{root}: folders without pictures are not classes: 'owl'",
        f"{root}: 1 picture outside the class folders, not read, such as loose.png",
        f"{root}: 1 picture in subfolders of the class folders, not read, such as {deeper}",
        f"{root}: 4 files are not read: 2 .heic (a.heic, b.heic), 1 .svg (c.svg), 1 .txt (notes.txt)",
    )
    assert inspect_folder(DataLocation("image_folder", root)).notes == notes
    assert class_folders(root).notes == notes


def test_pictures_are_recognized_by_the_content_of_the_file(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("cat/really-png.jpg", "cat/without", "dog/really-png.heic"):
        write(name)
    write("dog/copy.png~")
    (root / "dog" / "notes").write_text("BM25 is no bitmap")

    opened = ImageFolder.open(ImageFolderParams(train=root, size=6))

    assert len(opened.train) == 7
    assert opened.notes[-1] == f"{root}: 2 files are not read: 1 .png~ (copy.png~), 1 without an ending (notes)"


def test_links_are_followed_without_loops(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("L", (6, 6)).save(elsewhere / "0.png")
    (root / "owl").symlink_to(elsewhere)
    (root / "cat" / "all").symlink_to(root)
    (root / "dog" / "self").symlink_to(root / "dog" / "self")
    (root / "dog" / "link.png").symlink_to(elsewhere / "0.png")

    assert [path.relative_to(root).as_posix() for path in class_folders(root).pictures] == [
        *("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "dog/link.png", "owl/0.png")
    ]
    assert root / "owl" / "0.png" in pictures_below(root).pictures
    assert len(pictures_below(root).pictures) == 6


def test_a_broken_link_is_reported_as_an_unreadable_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "photos/dog/gone.png").symlink_to(tmp_path / "nothing.png")

    with pytest.raises(DataError, match=r"1 of 5 files cannot be decoded:\n .*gone.png: .*No such file"):
        ImageFolder.open(ImageFolderParams(train=tmp_path / "photos", size=6))


def test_an_error_for_pictures_without_class_folders_says_what_is_missing(tmp_path: Path) -> None:
    Image.new("L", (6, 6)).save(tmp_path / "0.png")

    with pytest.raises(DataError) as caught:
        class_folders(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path} has no folders with pictures; it must contain one folder per class\n"
        f"  {tmp_path}: 1 picture outside the class folders, not read, such as 0.png"
    )


def test_a_class_whose_pictures_are_all_corrupt_is_named(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "owl").mkdir()
    (root / "owl" / "0.png").write_bytes(b"none")

    opened = ImageFolder.open(ImageFolderParams(train=root, size=6, on_corrupt="skip"))

    assert opened.train.class_names == ("cat", "dog")
    assert f"{root}: no picture of the class owl can be decoded: it is left out" in opened.notes


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("recycler", "old versions of Windows put deleted files"),
        ("Recycler", "old versions of Windows put deleted files"),
        ("lost+found", "fsck puts pieces of files"),
    ],
)
def test_a_class_with_the_name_of_a_tools_folder_is_read_and_mentioned(
    write: Write, tmp_path: Path, name: str, who: str
) -> None:
    root = tmp_path / "photos"
    path = write(f"{name}/0.png")
    said = (
        f"{root}: pictures in folders called {name.lower()} are read, such as {path}, but {who} into such folders; if "
        "these are not your pictures, move the folder away"
    )

    opened = ImageFolder.open(ImageFolderParams(train=root, size=6))

    assert (opened.train.class_names, opened.notes) == (tuple(sorted(("cat", "dog", name))), (said,))
    assert inspect_folder(DataLocation("image_folder", root)).notes == (said,)
    assert (len(pictures_below(root).pictures), pictures_below(root).notes) == (5, (said,))


@pytest.mark.parametrize("name", ["recycler", "RECYCLER", "lost+found"])
def test_a_folder_of_tools_without_pictures_is_not_mentioned(write: Write, tmp_path: Path, name: str) -> None:
    root = tmp_path / "photos"
    (root / name / "S-1-5-21").mkdir(parents=True)
    (root / name / "INFO2").write_bytes(b"\0")

    assert class_folders(root).notes == pictures_below(root).notes == ()


def test_an_unreadable_lost_and_found_folder_is_ignored(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "photos" / "lost+found"
    write("lost+found/0.png")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != hidden and access(path, mode))

    assert len(class_folders(tmp_path / "photos").pictures) == 4
