"""Pack a job with the files that it names and the user's own code, and read it again on the cluster."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quorate.errors import UserError
from quorate.execution.ray import sent_environment
from quorate.job.package_archive import add_content, add_files, add_package, files_in
from quorate.plan.identity import digest
from quorate.quantities import format_bytes
from quorate.registry import own_code
from quorate.spec import Job, PathLookup, validate
from quorate.spec.file import Loc, Source

LARGEST = 64 << 20
"""Most bytes of all files that are sent with a job. The head keeps them in memory, and every node that works on the job
gets a copy. An assumption, not a measurement."""

_RECORD = "submitted-job.json"
_FORMAT = 1
"""The version of `submitted-job.json`."""
_CODE = "code"
_FILES = "files"


class SentFiles:
    """The lookup of the files that a job names: those of this machine are sent with it.

    Paths in the folders `on_cluster` are not looked up. A file that is too large raises `ValueError`.
    """

    def __init__(self, on_cluster: Sequence[Path] = ()) -> None:
        self._on_cluster = on_cluster
        self.found: dict[str, Path] = {}
        """The files and folders by their names in the job file."""

    def __call__(self, value: Path, here: Callable[[Path], Path]) -> Path:
        if any(value.is_relative_to(folder) for folder in self._on_cluster):
            return value
        try:
            path = here(value)
        except ValueError as error:
            if not value.is_absolute():
                raise
            raise ValueError(f"{error}; if it is on the cluster, give --on-cluster {value.parent}") from None
        self.found[str(value)] = path
        self._check_size(value)
        return path

    def _check_size(self, value: Path) -> None:
        total = 0
        for path in self.found.values():
            for _, file in files_in(path):
                total += file.stat().st_size
                if total > LARGEST:
                    what = f"{value} is too large" if len(self.found) == 1 else f"with {value}, the files are too large"
                    raise ValueError(
                        f"{what}: at most {format_bytes(LARGEST)} are sent with a job; put it into a bucket and name "
                        "its URL, or put it on the cluster (same path on the head and all nodes), name that path, and "
                        "give --on-cluster FOLDER"
                    )


@dataclass(frozen=True)
class SentJob:
    """A job with everything that is sent to the cluster with it."""

    job: Job
    files: Mapping[str, Path]
    """The files and folders to send, by their names in the job file."""
    code: Sequence[Path]
    """Package folders and single files of the user's own code."""
    store: str | None
    """Where finished work is kept; None for the choice of the head."""
    runs: str | None

    @property
    def name(self) -> str:
        return self.job.spec.name

    def identity(self) -> str:
        """SHA-256 of everything that the user has chosen: equal for the same job."""
        sums = {name: _digest_of(path) for name, path in sorted(self.files.items())}
        code = {path.name: _digest_of(path) for path in self.code}
        return digest(tree=self.job.source.tree, files=sums, code=code, store=self.store, runs=self.runs)

    def write(self, archive: Path, *, with_package: bool, env: Mapping[str, str]) -> None:
        """Write everything to a ZIP file, whose content is the working folder of the driver and of its workers.

        They set the variables `env`; only Ray's user can read the file with them.
        """
        names = {given: f"{_FILES}/{number}/{path.name}" for number, (given, path) in enumerate(self._sorted_files())}
        source = self.job.source
        record = {
            "format": _FORMAT,
            "name": source.name,
            "tree": source.tree,
            "lines": [[list(loc), line] for loc, line in source.lines.items()],
            "options": [[list(loc), option] for loc, option in source.options.items()],
            "files": names,
            "store": self.store,
            "runs": self.runs,
        }
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            add_content(packed, _RECORD, json.dumps(record).encode())
            if env:
                add_content(packed, sent_environment.NAME, sent_environment.packed(env), mode=0o600)
            for given, path in self._sorted_files():
                add_files(packed, names[given], path)
            for path in self.code:
                add_files(packed, f"{_CODE}/{path.name}", path)
            if with_package:
                add_package(packed)

    def _sorted_files(self) -> list[tuple[str, Path]]:
        return sorted(self.files.items())


@dataclass(frozen=True)
class ReceivedJob:
    """A job that has arrived on the cluster."""

    job: Job
    store: str | None
    runs: str | None


def load_to_send(
    load: Callable[[PathLookup], Job], *, store: str | None, runs: str | None, on_cluster: Sequence[Path]
) -> SentJob:
    """Read and check a job with `load`, and find what must be sent with it; raises `SpecError`."""
    files = SentFiles(on_cluster)
    job = load(files)
    return SentJob(job, files.found, own_code.own_files(), store, runs)


def receive(folder: Path, keep: Path) -> ReceivedJob:
    """Read the job in the folder to which an archive was unpacked; raises `SpecError` if it cannot run here.

    Ray removes that folder some time after the end of the driver. The files that the job names are copied to a folder
    below `keep`, where commands that open the data of the run again find them.
    """
    record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    if record["format"] != _FORMAT:
        raise UserError(
            f"the job was submitted by another version of Quorate (format {record['format']}, here {_FORMAT}); submit "
            "it with the version of the cluster's image, or without --image-has-package"
        )

    def lookup(value: Path, here: Callable[[Path], Path]) -> Path:
        sent = record["files"].get(str(value))
        return here(value) if sent is None else _keep(folder / sent, keep)

    source = Source(record["name"], record["tree"], _by_loc(record["lines"]), _by_loc(record["options"]))
    job = validate(source, base=folder / _CODE, lookup=lookup)
    return ReceivedJob(job, record["store"], record["runs"])


def _keep(path: Path, keep: Path) -> Path:
    """Copy a file or folder, unless a copy with the same content is there, and return the copy."""
    target = keep / _digest_of(path)[:16] / path.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent)) / path.name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, partial)
        try:
            partial.rename(target)
        except OSError:  # a driver of another job has just copied the same folder
            if not target.exists():
                raise
        shutil.rmtree(partial.parent)
    return target.absolute()


def _by_loc(entries: list[Any]) -> dict[Loc, Any]:
    return {tuple(loc): value for loc, value in entries}


def _digest_of(path: Path) -> str:
    total = hashlib.sha256()
    for name, file in files_in(path):
        with file.open("rb") as content:
            total.update(f"{name}\0".encode() + hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()
