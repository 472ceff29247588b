"""Find the place of runs, a run, and the bundle of a run, from the values of `--runs` and `--run`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.runs.copy import Parts
    from quorate.runs.folder import RunFolder
    from quorate.runs.place import RunsPlace

_VARIABLE = "QUORATE_RUNS"


def runs_address() -> str:
    """The value of the environment variable QUORATE_RUNS, or `runs`, a folder in the current one."""
    return os.environ.get(_VARIABLE) or "runs"


@contextlib.contextmanager
def runs_kept_at(address: str) -> Iterator[None]:
    """Within this context, this process and those that it starts find runs at this address."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def runs_place() -> RunsPlace:
    """Where runs are kept; raises `UserError` if the address names no place."""
    return _place(runs_address(), "--runs")


def find_run(run: str | None, parts: Parts | None = None) -> RunFolder:
    """Find a finished run by its path, URL or name; by default the newest. Raises `RunError`.

    Of a run in a bucket, only the `parts` are fetched, by default all.
    """
    place, name = _of(run)
    return _sendable(place.find(name, parts))


def find_journal(run: str | None, parts: Parts | None = None) -> RunFolder:
    """The same of a run with a journal, finished or not."""
    place, name = _of(run)
    return _sendable(place.journalled(name, parts))


def bundle_folder(run: str | None) -> Path:
    """The folder of the bundle of a run. A bundle in MLflow (`models:/NAME@champion`) or in a bucket is downloaded."""
    if run is not None and run.startswith(("models:/", "runs:/", "mlflow-artifacts:/")):
        from quorate.tracking.download import download_bundle

        return download_bundle(run)
    place, name = _of(run)
    return place.bundle(name)


def _of(run: str | None) -> tuple[RunsPlace, str | None]:
    """The place of a run, and its name there."""
    from quorate.errors import UserError
    from quorate.runs.place import FolderRuns

    if run is not None and _is_url(run):
        address, _, name = run.rstrip("/").rpartition("/")
        if address.endswith(":/"):
            raise UserError(f"--run {run} names a bucket; name a run in it, such as s3://bucket/prefix/NAME")
        return _place(address, "--run"), name
    place = runs_place()
    if run and Path(run).is_dir() and not isinstance(place, FolderRuns):
        return FolderRuns(Path(run).parent), run
    return place, run


def _place(address: str, option: str) -> RunsPlace:
    from quorate.errors import UserError
    from quorate.runs.place import FolderRuns

    if _is_url(address):
        from quorate.runs.bucket import BucketRuns
        from quorate.store.bucket import read_bucket_url
        from quorate.store.bucket_files import BucketFiles

        return BucketRuns(BucketFiles(read_bucket_url(address, option=option, what="runs")))
    path = address.removeprefix("file://")
    if (meant := re.match(r"(s3|gs|az|file):/?(?!/)", path)) is not None:  # the rest may hold a secret
        raise UserError(f"{option} {meant[1]}:…: write {meant[1]}://")
    if "://" in path:
        forms = "a path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        raise UserError(f"{option}: runs are kept in {forms}, not in {path.partition('://')[0]}://…")
    return FolderRuns(Path(path).expanduser())


def _is_url(text: str) -> bool:
    return text.startswith(("s3://", "gs://", "az://"))


def _sendable(run: RunFolder) -> RunFolder:
    """The run with its destination, if it is in the working folder of a job whose run goes to a bucket."""
    from quorate.runs.folder import RunFolder
    from quorate.runs.upload import DESTINATION, RunUpload
    from quorate.store.bucket import read_bucket_url
    from quorate.store.bucket_files import BucketFiles

    marker = run.path / DESTINATION
    if run.origin is not None or not marker.is_file():
        return run
    url = read_bucket_url(marker.read_text(encoding="utf-8"), option=str(marker), what="runs")
    return RunFolder(run.path, RunUpload(run.path, BucketFiles(url)))
