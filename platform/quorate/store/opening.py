"""Open a store from the value of `--store`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from quorate.errors import UserError
from quorate.store.backend import LocalBackend
from quorate.store.blobs import Store


def open_store(uri: str) -> Store:
    """Open or create the store at a path or `file://` URI; raises `UserError` for other schemes."""
    root = root_of(uri)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        fix = "choose a writable folder with free space, with --store or QUORATE_STORE"
        raise UserError(f"--store {uri}: cannot write there: {error.strerror}; {fix}") from None
    return Store(LocalBackend(root))


def find_store(uri: str) -> Store:
    """Like `open_store`, but raises `UserError` if the store does not exist."""
    if not root_of(uri).is_dir():
        raise UserError(f"there is no store at {uri}; run `quorate train JOB.yaml` first, or give --store")
    return open_store(uri)


def root_of(uri: str) -> Path:
    """Return the folder of a store; raises `UserError` for schemes other than `file`."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"--store {uri}: a store must be a folder (a path or file:///path)")
    return Path(rest if separator else uri).expanduser().absolute()
