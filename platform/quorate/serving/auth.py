"""Authorize requests by a bearer token; without one, only this machine can send requests."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path

from quorate.errors import UserError

SHORTEST_TOKEN = 16
"""Minimum number of characters of a token; a shorter one could be guessed. 16 hexadecimal digits are 64 bits. An
assumption, not a measurement."""


def read_token(path: Path) -> str:
    """Return the token from a file, without surrounding white space; raises `UserError`."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the token file {path}: {error}") from None
    if len(token) < SHORTEST_TOKEN:
        raise UserError(
            f"the token in {path} has {len(token)} characters; use at least {SHORTEST_TOKEN}, "
            f"for example with `openssl rand -hex 32 > {path}`"
        )
    return token


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token; only this is kept, so that no configuration or log shows the token."""
    return hashlib.sha256(token.encode()).digest()


def is_allowed(authorization: str | None, expected: bytes | None) -> bool:
    """Return whether the Authorization header contains the token with the digest `expected`; always true if that is
    None."""
    if expected is None:
        return True
    scheme, _, token = (authorization or "").partition(" ")
    return hmac.compare_digest(digest(token.strip()), expected) and scheme.lower() == "bearer"


def check_exposure(host: str, *, token: bool) -> None:
    """Raise `UserError` if `host` is reachable from other machines and no token is required."""
    if not token and not is_loopback(host):
        raise UserError(
            f"{host} can be reached from other machines, and no token is set; "
            "add --token-file FILE, or use --host 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether `host` is reachable only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
