"""Parse the URL of a bucket, create its client with timeouts, and describe its errors."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from quorate.errors import UserError
from quorate.store.backend import StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_STORES: dict[str, type[S3Store] | type[GCSStore] | type[AzureStore]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}
SCHEMES = tuple(_STORES)

WEB = ("http", "https")
_LOGIN = "the server requires a login, which the URL cannot contain; download the file"

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""Of the environment variables that the clients read."""

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


@dataclass(frozen=True)
class BucketUrl:
    """The place of a store: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def variables_of(address: str) -> dict[str, str]:
    """Return the environment variables of this process with which it opens a store; none for a folder.

    They hold credentials: do not log them.
    """
    prefix = _PREFIXES.get(address.partition("://")[0])
    return {name: value for name, value in os.environ.items() if prefix is not None and name.startswith(prefix)}


def read_bucket_url(uri: str, *, option: str = "--store", what: str = "a store") -> BucketUrl:
    """Parse a URL with one of `SCHEMES`; raises `UserError`, whose message names the `option`."""
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    prefix = [part for part in path.split("/") if part]
    if "@" in bucket or "?" in rest or "#" in rest:  # may be a secret: not repeated in the message
        raise UserError(
            f"{option} {scheme}://…: the URL of {what} must not contain credentials or parameters; "
            "set them as environment variables"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,}", bucket):
        raise UserError(f"{option} {scheme}://{rest}: {bucket!r} is not the name of a bucket (three letters or more)")
    if {".", ".."} & set(prefix):
        raise UserError(f"{option} {scheme}://{rest}: a prefix must not contain the parts . and ..")
    return BucketUrl(scheme, bucket, "/".join(prefix))


def open_bucket(url: BucketUrl, *, read_timeout: float, retry: float) -> S3Store | GCSStore | AzureStore:
    """Return a client that cancels a request without progress for `read_timeout` seconds.

    It repeats failed requests for `retry` seconds. Endpoint and credentials come from the environment variables; raises
    `StoreRefused` if they cannot be used.
    """
    endpoints = {name: given for name in _ENDPOINTS[url.scheme] if (given := os.environ.get(name))}
    for name, given in endpoints.items():  # obstore panics; the value is not shown, as it can hold a password
        if not re.match(r"https?://[^/\s]+", given):
            raise StoreRefused(None, f"{name} must be a URL such as https://host:port", str(url))
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=4),
        "read_timeout": timedelta(seconds=read_timeout),
        "timeout": timedelta(seconds=600),  # of a whole transfer; `read_timeout` notices one that stands still
        "allow_http": any(given.startswith("http://") for given in endpoints.values()),
    }
    retries: RetryConfig = {
        "max_retries": 10,
        "retry_timeout": timedelta(seconds=retry),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    try:
        return _STORES[url.scheme](url.bucket, prefix=url.prefix or None, client_options=options, retry_config=retries)
    except (BaseError, ValueError, OSError):
        needed = CREDENTIALS[url.scheme]
        raise StoreRefused(None, f"the credentials are incomplete or unreadable; set {needed}", str(url)) from None


_METADATA_SERVICES = ("169.254.169.254", "metadata.google.internal", "/latest/api/token", "/computeMetadata/")
"""Where clients look for credentials that the variables do not give."""


def refusal(error: Exception, scheme: str) -> str | None:
    """Describe the problem with the credentials or the bucket; None for an error of another kind."""
    message, forbidden = str(error), isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if not forbidden and any(place in message for place in _METADATA_SERVICES):
        return f"no credentials were found; set {CREDENTIALS[scheme]}"
    if forbidden or re.search(r"status code: 40[13]\b", message):  # listings do not raise `PermissionDeniedError`
        return f"access is denied; {_LOGIN if scheme in WEB else f'check {CREDENTIALS[scheme]}'}"
    if "<Code>NoSuchBucket<" in message or "ContainerNotFound" in message:
        return "the bucket does not exist"
    if "<Code>InvalidBucketName<" in message:
        return "this is not a valid name of a bucket"
    if "Received redirect without LOCATION" in message or "PermanentRedirect" in message:
        return "the bucket is in another region; set AWS_REGION"
    return None


def reason(error: Exception) -> str:
    """Describe why a request failed, without obstore's own text, which can contain credentials."""
    message = str(error)
    if "dns error" in message or "lookup address" in message:
        return "its host name is unknown; check the endpoint and the network"
    if "ConnectionRefused" in message:
        return "the connection was refused; check the endpoint and that the server runs"
    if "TimedOut" in message or "kind: Timeout" in message:
        return "it does not answer; check the endpoint and the network"
    if (status := re.search(r"status code: (\d{3}[A-Za-z ]*)", message)) is not None:
        code = re.search(r"<Code>(\w{1,60})</Code>", message)
        return f"it answers {status[1].strip()}" + (f" ({code[1]})" if code is not None else "")
    return "the connection failed; check the endpoint and the network"


@contextlib.contextmanager
def reported(url: BucketUrl, *, absent: bool = False, what: str = "the store") -> Iterator[None]:
    """Turn errors of obstore into `StoreUnavailable` and `StoreRefused`, without the credentials in their messages.

    Leaves failed conditions as they are, and `FileNotFoundError` where objects may be `absent`.
    """

    def refused(problem: str) -> StoreRefused:
        return StoreRefused(None, problem, str(url))

    try:
        yield
    except FileNotFoundError:
        if absent:
            raise
        raise refused("the bucket does not exist") from None
    except (AlreadyExistsError, PreconditionError):
        raise
    except BaseError as error:
        problem = refusal(error, url.scheme)
        if problem is not None:
            raise refused(problem) from None
        raise StoreUnavailable(None, f"{what} is unavailable: {reason(error)}", str(url)) from None
