"""A store from what a user writes: `--store`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from quorate.errors import UserError
from quorate.store.backend import LocalBackend
from quorate.store.blobs import Store


def open_store(uri: str) -> Store:
    """The store at a path or `file://` URI; raises `UserError` for other schemes."""
    root = root_of(uri)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        fix = "name a folder that can be written and has room, with --store or QUORATE_STORE"
        raise UserError(f"--store {uri}: cannot write there: {error.strerror}; {fix}") from None
    return Store(LocalBackend(root))


def find_store(uri: str) -> Store:
    """As `open_store`, but raises `UserError` where there is none yet."""
    if not root_of(uri).is_dir():
        raise UserError(f"there is no store at {uri}; run `quorate train JOB.yaml` first, or give --store")
    return open_store(uri)


def root_of(uri: str) -> Path:
    """The folder of a store; raises `UserError` for other schemes than `file`."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"--store {uri}: stores are folders here (a path or file:///path)")
    return Path(rest if separator else uri).expanduser().absolute()
