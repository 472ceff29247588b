"""Who may ask: a bearer token, or nobody from outside this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path

from quorate.errors import UserError

SHORTEST_TOKEN = 16
"""Characters below which a token could be guessed."""


def read_token(path: Path) -> str:
    """The token in a file, without the white space around it; raises `UserError`."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the token file {path}: {error}") from None
    if len(token) < SHORTEST_TOKEN:
        raise UserError(
            f"the token in {path} has {len(token)} characters; give at least {SHORTEST_TOKEN}, "
            f"such as `openssl rand -hex 32 > {path}` writes"
        )
    return token


def digest(token: str) -> bytes:
    """What is kept of a token: its SHA-256, so that no configuration or log can show it."""
    return hashlib.sha256(token.encode()).digest()


def is_allowed(authorization: str | None, expected: bytes | None) -> bool:
    """Whether the Authorization header has the token with the digest `expected` (None: none is asked)."""
    if expected is None:
        return True
    scheme, _, token = (authorization or "").partition(" ")
    return hmac.compare_digest(digest(token.strip()), expected) and scheme.lower() == "bearer"


def check_exposure(host: str, *, token: bool) -> None:
    """Raises `UserError` where `host` can be reached from other machines and no token is asked."""
    if not token and not is_loopback(host):
        raise UserError(
            f"{host} can be reached from other machines, and no token is set; "
            "add --token-file FILE, or use --host 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
