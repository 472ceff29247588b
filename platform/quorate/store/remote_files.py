"""Read data files from object stores and web servers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import HTTPStore

from quorate.errors import UserError
from quorate.store.backend import StoreUnavailable
from quorate.store.bucket import WEB, BucketUrl, open_bucket, reason, refusal

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import AzureStore, GCSStore, S3Store

_PART = 8 << 20
"""Bytes that are read at once. An assumption, not a measurement."""


class RemoteError(UserError):
    """A file cannot be read from its server; the message names the URL, without a query that can hold a secret."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: its path below the folder that was listed, its size in bytes, and its version."""

    path: str
    size: int
    version: str | None
    """Differs between contents of the file; None if the server does not say it."""


class RemotePlace:
    """A file or a folder at `s3://bucket/path`, `gs://…`, `az://…`, `https://host/path` or `http://…`.

    Endpoint and credentials of object stores come from the environment variables. Methods raise `RemoteError`.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._scheme, self._shown = scheme, url.partition("?")[0]
        self._client: S3Store | GCSStore | AzureStore | HTTPStore
        self._path = ""
        with self._reported():
            if scheme in WEB:
                self._client = HTTPStore.from_url(
                    url,
                    client_options={
                        "connect_timeout": timedelta(seconds=10),
                        "read_timeout": timedelta(seconds=60),
                        "timeout": timedelta(days=1),  # of a whole file; `read_timeout` notices one that stands still
                        "allow_http": scheme == "http",
                    },
                    retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
                )
            else:
                bucket, _, self._path = rest.partition("/")
                self._client = open_bucket(BucketUrl(scheme, bucket, ""), read_timeout=60.0, retry=15.0)

    def list(self) -> list[RemoteFile]:
        """Return the files below this folder, in the order of their paths."""
        if isinstance(self._client, HTTPStore):
            raise RemoteError(
                f"{self._shown}: a web server does not list its folders; use a file, or a folder in an object store"
            )
        prefix = self._path.rstrip("/")
        with self._reported():
            found = [meta for chunk in obstore.list(self._client, prefix or None) for meta in chunk]
        below = len(prefix) + 1 if prefix else 0
        files = [_described(meta["path"][below:], meta) for meta in found if not meta["path"].endswith("/")]
        files = [file for file in files if file.path]
        if not files:
            raise RemoteError(f"{self._shown}: there is no file below this folder; check the path")
        return sorted(files, key=lambda file: file.path)

    @contextlib.contextmanager
    def open(self, below: RemoteFile | None = None) -> Iterator[tuple[RemoteFile, Iterator[memoryview]]]:
        """Yield this file, or one of `list`, with its content in parts; nothing is read before the first part."""
        path = self._path if below is None else "/".join(filter(None, [self._path.rstrip("/"), below.path]))
        with self._reported():
            result = obstore.get(self._client, path)
            file = _described(path.rpartition("/")[2], result.meta)
            if below is not None and file.version != below.version:
                raise RemoteError(f"{self._shown}/{below.path} was changed while it was read; start again")
        yield file, self._parts(result, file)

    def _parts(self, result: GetResult, file: RemoteFile) -> Iterator[memoryview]:
        read = 0
        with self._reported():
            for part in result.stream(min_chunk_size=_PART):
                read += len(part)
                yield memoryview(part)
        if read != file.size:
            raise RemoteError(f"{self._shown}: the connection ended after {read:,} of {file.size:,} bytes; try again")

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn errors of the client into `RemoteError`, without the credentials in their messages."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._error(refusal(error, self._scheme) or "there is no such file") from None
        except PreconditionError:
            raise self._error("the file was changed while it was read; start again") from None
        except StoreUnavailable as error:
            raise self._error(error.strerror or "it cannot be opened") from None
        except BaseError as error:
            raise self._error(refusal(error, self._scheme) or _tls(str(error)) or reason(error)) from None

    def _error(self, problem: str) -> RemoteError:
        return RemoteError(f"{self._shown}: {problem}")


def _tls(message: str) -> str | None:
    if re.search("certificate|UnknownIssuer", message):
        return "its certificate is not valid here; set SSL_CERT_FILE to a file with the certificate of its authority"
    return None


def _described(path: str, meta: ObjectMeta) -> RemoteFile:
    version = meta["e_tag"] or meta["version"]
    if version is None and meta["last_modified"].timestamp() > 0:
        version = f"{meta['last_modified'].isoformat()} {meta['size']}"
    return RemoteFile(path, meta["size"], version)
