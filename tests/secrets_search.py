"""Secrets for tests, and a search for them in every byte of files and of outputs."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

USER = "ada"
"""The user name of the URIs with a password."""


def spellings(secret: str) -> tuple[bytes, ...]:
    """The secret itself, and as a password of `USER` in a header of HTTP."""
    return secret.encode(), base64.b64encode(f"{USER}:{secret}".encode())


def leaks_in(content: bytes, secrets: Mapping[str, str]) -> list[str]:
    """The names of the secrets that occur in a content."""
    return [name for name, secret in secrets.items() if any(one in content for one in spellings(secret))]


def leaks_below(folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """Each file in and below a folder that holds a secret, or whose name does, with the names of the secrets."""
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if found := leaks_in(str(path).encode() + content, secrets):
            yield f"{path}: {', '.join(found)}"
