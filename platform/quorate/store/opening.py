"""Open a store from the value of `--store`."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from quorate.errors import UserError, did_you_mean
from quorate.store.backend import LocalBackend, StoreRefused
from quorate.store.blobs import Store
from quorate.store.bucket import SCHEMES, read_bucket_url
from quorate.store.object_store import ObjectBackend

_FORMS = "a path, file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"


def open_store(uri: str) -> Store:
    """Open or create the store at a path or URL, for reading and writing.

    Raises `UserError` if it names no store, or if the folder or bucket cannot be written, and `StoreUnavailable` if the
    server of an object store cannot be reached.
    """
    with _plainly():
        backend = _backend(uri)
        if isinstance(backend, ObjectBackend):
            backend.check()
        else:
            _try_folder(uri, backend.root)
        return Store(backend)


def find_store(uri: str) -> Store:
    """Like `open_store`, but raises `UserError` if the store does not exist."""
    with _plainly():
        backend = _backend(uri)
        exists = backend.exists() if isinstance(backend, ObjectBackend) else backend.root.is_dir()
    if not exists:
        raise UserError(f"there is no store at {uri}; run `quorate train JOB.yaml` first, or give --store")
    return open_store(uri)


def reached(address: str, nonce: str) -> Store | None:
    """Return the store in which `Store.challenge` wrote the nonce, if this process reaches it and may write there.

    None also if another folder has the same path here, if this process lacks the credentials, or if the store does
    not answer: the caller must then send its bytes in another way.
    """
    try:
        store = Store(_backend(address))
        return store if store.answers(nonce) else None
    except OSError:
        return None


def folder_of(uri: str) -> Path | None:
    """Return the folder of a store; None for an object store. Raises `UserError` if the value does not name a store."""
    backend = _backend(uri)
    return None if isinstance(backend, ObjectBackend) else backend.root


def _backend(uri: str) -> LocalBackend | ObjectBackend:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if (meant := re.match(rf"({'|'.join(SCHEMES)}|file):", uri)) is not None:  # the rest may hold a secret
            raise UserError(f"--store {meant[1]}:…: write {meant[1]}://; a store is {_FORMS}")
        return LocalBackend(Path(uri).expanduser().absolute())
    if scheme == "file":
        return LocalBackend(Path(rest).expanduser().absolute())
    if scheme not in SCHEMES:
        near = did_you_mean(scheme, ["file", *SCHEMES])
        raise UserError(f"--store: a store is {_FORMS}, not {scheme}://…{near}")
    return ObjectBackend(read_bucket_url(uri))


def _try_folder(uri: str, root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        fix = "choose a writable folder with free space, with --store or QUORATE_STORE"
        raise UserError(f"--store {uri}: cannot write there: {error.strerror}; {fix}") from None


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Turn a refusal into an error that the user can fix."""
    try:
        yield
    except StoreRefused as error:
        raise UserError(f"--store {error}") from None
