"""Format a job file with a comment next to each choice, and write it atomically."""

from __future__ import annotations

import json
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quorate.autoconfig.summary import clean
from quorate.errors import UserError

WIDTH = 118
"""Maximum number of characters of a line."""
_COLUMN = 44
"""Column at which comments begin."""
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*|[0-9]+[smhd]")
_RESERVED = {"true", "false", "null"}


@dataclass(frozen=True)
class CommentedEntry:
    """A key with its value or nested entries, and a comment that gives the reason for the value."""

    key: str
    value: Any = None
    """A scalar, a list or mapping that is written on one line, or a list of mappings with one line each."""
    below: tuple[CommentedEntry, ...] = ()
    why: str = ""
    off: bool = False
    """Whether the entry is commented out."""


def as_yaml(entries: Sequence[CommentedEntry], indent: int = 0) -> str:
    """Lines of YAML; a comment that does not fit on its line is written above it."""
    return "".join(line.rstrip() + "\n" for entry in entries for line in _lines(entry, indent))


def comment(text: str, indent: int = 0, *, head: str = "") -> str:
    """The text as a YAML comment that starts with `head`; wrapped lines are indented by the length of `head`."""
    start = " " * indent + "# "
    after = start + " " * len(head)
    return (
        textwrap.fill(clean(text), WIDTH, initial_indent=start + head, subsequent_indent=after, break_on_hyphens=False)
        + "\n"
    )


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
        return value if plain else _quoted(value)
    return json.dumps(value)


def write_checked(path: Path, text: str, check: Callable[[Path], None]) -> None:
    """Write `text` to a draft in the folder of `path`, call `check` on it, then move it to `path`.

    If `check` raises, `path` is unchanged. Raises `UserError` if the folder is not writable.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix or ".yaml", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        check(draft)
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _lines(entry: CommentedEntry, indent: int) -> Iterator[str]:
    start = " " * indent
    if entry.off:
        above, *block = list(_lines(replace(entry, off=False), 0))
        if not above.startswith("#"):
            above = f"# {above}"
        yield start + above
        yield from (f"{start}# {line}" if not line.startswith("#") else start + line for line in block)
        return
    value = entry.value
    listed = value if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value) else []
    own = f"{start}{flow(entry.key)}:" + ("" if entry.below or listed else f" {flow(value)}")
    why = clean(entry.why)
    inline = f"{own:<{_COLUMN}}  # {why}"
    if not why:
        yield own
    elif len(inline) <= WIDTH:
        yield inline
    else:
        yield from comment(why, indent).splitlines()
        yield own
    yield from (f"{start}  - {flow(item)}" for item in listed)
    for inner in entry.below:
        yield from _lines(inner, indent + 2)


def _quoted(text: str) -> str:
    """The text as a JSON string, which YAML reads in the same way."""
    shown = json.dumps(text, ensure_ascii=not text.isprintable())
    return shown.replace("\x7f", "\\u007f")
