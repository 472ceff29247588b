"""Copy the data files that a job names by their URLs to the cache of this machine."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from quorate.data.cache import FileCache, node_cache
from quorate.data.source import DataError
from quorate.store.remote_files import RemoteError, RemoteFile, RemotePlace

_AT_ONCE = 16
"""Files of a folder that are downloaded at the same time. An assumption, not a measurement."""


_urls: dict[Path, str] = {}
"""The URLs of the copies that this process uses, without their queries."""


def with_urls(text: str) -> str:
    """Return a text that names copied data by their URLs instead of by their paths in the cache."""
    for copy, url in _urls.items():
        text = text.replace(str(copy), url)
    return text


def local_file(given: Path | str, key: str) -> Path:
    """Return a file of this machine, or download a URL unless the cache has its newest version.

    Raises `DataError` for the key `key` of `data`.
    """
    if isinstance(given, Path):
        return given
    with _blaming(key):
        cache, name = node_cache(), PurePosixPath(unquote(urlsplit(given).path)).name
        with RemotePlace(given).open() as (file, parts):
            tree = _tree(given, [file])
            found = cache.hold_tree(tree)
            if found is None:
                found = _added(cache, tree, lambda folder: _write(folder / name, parts), file.size)
        _urls[found / name] = given.partition("?")[0]
        return found / name


def local_folder(given: Path | str, key: str) -> Path:
    """Like `local_file`, for a folder of an object store with all files below it."""
    if isinstance(given, Path):
        return given
    with _blaming(key):
        place = RemotePlace(given)
        files, cache = place.list(), node_cache()
        tree = _tree(given, files)
        found = cache.hold_tree(tree)
        if found is None:
            size = sum(file.size for file in files)
            found = _added(cache, tree, lambda folder: _download(place, files, folder), size)
        _urls[found] = given.rstrip("/")
        return found


def local_data(url: str, key: str) -> Path:
    """Download a URL that a command is given: a folder if the object store has files below it, otherwise a file.

    Raises `DataError` like `local_file`.
    """
    with _blaming(key):
        folder = url.endswith("/") or RemotePlace(url).is_folder()
    return local_folder(url, key) if folder else local_file(url, key)


def _added(cache: FileCache, tree: str, fill: Callable[[Path], None], size: int) -> Path:
    cache.add_tree(tree, fill, size)
    found = cache.hold_tree(tree)
    assert found is not None, "it was used just now"
    return found


def _download(place: RemotePlace, files: Sequence[RemoteFile], folder: Path) -> None:
    def one(file: RemoteFile) -> None:
        if ".." in PurePosixPath(file.path).parts:
            raise RemoteError(f"the object {file.path!r} has a name that is not a path below its folder; rename it")
        with place.open(file) as (_, parts):
            _write(folder / file.path, parts)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(one, files):
            pass


def _write(path: Path, parts: Iterable[memoryview]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for part in parts:
            file.write(part)


def _tree(url: str, files: Sequence[RemoteFile]) -> str:
    """The name of the files in the cache; a file without a version gets a new name each time."""
    versions = [(file.path, file.size, file.version or secrets.token_hex(16)) for file in files]
    return f"downloads/{hashlib.sha256(repr((url, versions)).encode()).hexdigest()}"


@contextmanager
def _blaming(key: str) -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        raise DataError(str(error), key) from None
