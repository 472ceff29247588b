"""Keep copies of runs in a bucket in a folder of this machine, for the commands that read them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from quorate.data.cache import cache_folder, cache_size, evict_oldest, unusable, unused
from quorate.json_text import json_text
from quorate.runs.errors import RunError
from quorate.runs.folder import BOARD
from quorate.runs.history import size_of
from quorate.runs.job_record import JOB_FILE
from quorate.runs.search_record import NAME as SEARCH
from quorate.runs.upload import SEGMENTS, Stamp, files_of, stamp_of
from quorate.store.bucket_files import BucketFile, BucketFiles
from quorate.tracking import journal

Parts = frozenset[str]
"""Names of files and folders directly in a run folder."""

JUST_BOARD: Parts = frozenset({BOARD})
JUST_JOURNAL: Parts = frozenset({SEGMENTS})
SEARCH_PARTS: Parts = frozenset({SEARCH, JOB_FILE, SEGMENTS})
JUST_BUNDLE: Parts = frozenset({"bundle", BOARD})

_INDEX = ".copy.json"
"""In a copy, the versions of its files in the bucket, and their stamps here."""

_AT_ONCE = 16
"""Files that are fetched at the same time, because a request takes tens of milliseconds: an assumption."""

_MOST_BYTES = 20 << 30
"""Bytes of all copies above which those that were used least recently are removed, or `QUORATE_CACHE_SIZE` if that is
less: an assumption."""

_IN_USE: dict[Path, BinaryIO] = {}
"""The copies that this process uses, locked until it ends: a service loads its bundle again at any time."""


Index = dict[str, tuple[str, Stamp]]


class RunCopy:
    """The copy of a run. A file is fetched if its ETag in the bucket is new, or if it has changed here."""

    def __init__(self, runs: BucketFiles, name: str) -> None:
        self._runs, self._name = runs, name
        self.folder = copies_of(runs) / name

    @property
    def address(self) -> str:
        return f"{self._runs.address}/{self._name}"

    def fetch(self, listed: Collection[BucketFile], parts: Parts | None) -> None:
        """Fetch the files of the run among those `listed` in the bucket; `parts` None stands for all.

        The copy must be held, or others can remove it.
        """
        prefix = f"{self._name}/"
        there = {file.name.removeprefix(prefix): file for file in listed if file.name.startswith(prefix)}
        wanted = {name: file for name, file in there.items() if parts is None or name.split("/")[0] in parts}
        segments = [wanted.pop(name) for name in sorted(wanted) if name.startswith(f"{SEGMENTS}/")]
        if any(part in ("..", "") for name in there for part in name.split("/")):
            raise RunError(f"{self.address} holds a file whose name leads out of the run; Quorate did not write it")
        with self._refreshing() as index:
            for name in index.keys() - there.keys() - {journal.NAME}:
                (self.folder / name).unlink(missing_ok=True)
                del index[name]
            stale = [name for name, file in wanted.items() if index.get(name) != (file.e_tag, self._stamp(name))]
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                found = list(threads.map(self._download, stale))
            index.update((name, entry) for name, entry in zip(stale, found, strict=True) if entry is not None)
            if segments:
                index[journal.NAME] = self._fetch_journal(segments, index.get(journal.NAME))

    def publish(self) -> None:
        """Send the files that a command has written or changed here."""
        with self._refreshing() as index:
            for name, stamp in files_of(self.folder):
                if name not in index or index[name][1] != stamp:
                    self._runs.upload(self.folder / name, f"{self._name}/{name}")
                    index[name] = ("", stamp)  # a later fetch learns its ETag

    def use(self, listed: Collection[BucketFile], parts: Parts | None) -> None:
        """Fetch files, keep the copy until this process ends, and remove others if there are too many."""
        if self.folder not in _IN_USE:
            _IN_USE[self.folder] = self._locked()
        self.fetch(listed, parts)
        os.utime(self._lock_file("use"))
        _make_room()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the copy while the context lasts."""
        with self._locked():
            yield

    def _locked(self) -> BinaryIO:
        """Lock the copy until the file is closed, so that no process removes it; before `fetch` writes into it."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock_file("use").open("ab")
            fcntl.flock(lock, fcntl.LOCK_SH)
        except OSError as error:
            raise unusable(self.folder.parent, error) from None
        return lock

    def _download(self, name: str) -> tuple[str, Stamp] | None:
        """Fetch a file, and give it the time that it has in the bucket; None if it was removed meanwhile."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            found = self._runs.download(f"{self._name}/{name}", partial)
            if found is None:
                return None
            if partial.stat().st_size != found.size:
                raise RunError(f"{self.address}/{name} arrived with {partial.stat().st_size} of {found.size} bytes")
            os.utime(partial, (found.modified, found.modified))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return found.e_tag, stamp_of(path)

    def _fetch_journal(self, segments: Collection[BucketFile], known: tuple[str, Stamp] | None) -> tuple[str, Stamp]:
        """Append the new segments to the journal; an index of another file, or of a longer one, does not count."""
        total = sum(file.size for file in segments)
        have = self._stamp(journal.NAME)
        start = have[0] if known is not None and known[1] == have and have[0] <= total else 0
        path = self.folder / journal.NAME
        with path.open("ab" if start else "wb") as file:
            for segment in segments:
                offset = int(Path(segment.name).stem)
                if offset < start:
                    continue
                content = self._runs.read(segment.name)
                if content is None or offset != file.tell():
                    raise RunError(f"the journal of {self.address} has a gap at byte {file.tell()}")
                file.write(content)
        return "", stamp_of(path)

    def _stamp(self, name: str) -> Stamp:
        try:
            return stamp_of(self.folder / name)
        except FileNotFoundError:
            return (-1, -1)

    def _lock_file(self, what: str) -> Path:
        return self.folder.with_name(f".{self._name}.{what}")

    @contextlib.contextmanager
    def _refreshing(self) -> Iterator[Index]:
        """Yield the index of the copy, which no other process changes meanwhile, and write it at the end."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_file("lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.folder.mkdir(exist_ok=True)
            path = self.folder / _INDEX
            try:
                index = {name: (tag, (size, at)) for name, (tag, (size, at)) in json.loads(path.read_text()).items()}
            except (FileNotFoundError, ValueError):
                index = {}
            try:
                yield index
            finally:
                partial = path.with_suffix(".partial")
                partial.write_text(json_text(index, indent=None))
                partial.replace(path)


def copies_of(runs: BucketFiles) -> Path:
    """The folder with the copies of the runs at an address: below QUORATE_CACHE, by default `~/.cache/quorate`."""
    return _root() / hashlib.sha256(runs.address.encode()).hexdigest()[:16]


def _root() -> Path:
    return cache_folder() / "runs"


def _make_room() -> None:
    """Remove the copies that were used least recently and that no process uses, while all have too many bytes."""
    given = cache_size()
    most = _MOST_BYTES if given is None else min(given, _MOST_BYTES)
    locks = list(_root().glob("*/.*.use"))
    evict_oldest([(lock, size_of(_copy_at(lock)), lock.stat().st_mtime) for lock in locks], most, _evict)


def _evict(lock: Path) -> bool:
    """Remove the copy with this lock unless a process uses it; return whether it was removed."""
    with unused(lock) as free:
        if free:
            shutil.rmtree(_copy_at(lock), ignore_errors=True)
        return free


def _copy_at(lock: Path) -> Path:
    return lock.with_name(lock.name.removeprefix(".").removesuffix(".use"))
