"""Set up the standard streams, and explain operating system errors: full disks, permissions, limits, closed pipes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from quorate.cli.options import store_uri
from quorate.errors import naming
from quorate.runs.lookup import runs_address

LITTLE = 1 << 20
"""Free bytes below which a disk counts as full. An assumption, not a measurement."""

OUTPUT = "the standard output"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_LIMITS = {
    errno.EMFILE: "too many open files for one process; raise the limit (`ulimit -n 4096`), or use fewer workers "
    "(`--set execution.workers=1`)",
    errno.ENFILE: "too many open files on this machine; end other programs, or ask an administrator to raise it",
    errno.EAGAIN: "the limit of processes and threads is reached; raise the limit (`ulimit -u`), or use fewer workers "
    "(`--set execution.workers=1`)",
    errno.ENOMEM: "the machine is out of memory; end other programs, or use fewer workers "
    "(`--set execution.workers=1`)",
    errno.EIO: "the disk reports an input/output error; check the system log (`dmesg`)",
    errno.ESTALE: "the file has disappeared from the network file system; run the same command again",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
}


class Output(io.TextIOWrapper):
    """The standard output. Its errors contain the stream's name, and a closed pipe ends the command as SIGPIPE
    would."""

    def write(self, text: str, /) -> int:
        with _own_errors():
            return super().write(text)

    def flush(self) -> None:
        with _own_errors():
            super().flush()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    try:
        with naming(Path(OUTPUT)):
            yield
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does: not an error
        _discard(1)
        raise SystemExit(128 + signal.SIGPIPE) from None


def prepare_streams() -> None:
    """Make the standard streams safe to write to.

    A stream that the caller closed becomes /dev/null. Otherwise the next opened file would get its number, and printed
    text would go to that file. Characters that the terminal's encoding lacks are replaced; they do not raise an error.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="backslashreplace" if utf8 else "replace")  # "replace" keeps the width of tables
    given = sys.stdout
    if given is sys.__stdout__ and isinstance(given, io.TextIOWrapper) and not isinstance(given, Output):
        given.flush()
        sys.stdout = Output(
            given.buffer, encoding=given.encoding, errors=given.errors, line_buffering=given.line_buffering
        )


def flush_streams() -> None:
    """Flush both streams, so that a write error makes this command fail."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()


def give_up_output() -> None:
    """Redirect streams that are not writable to /dev/null, so that the interpreter can exit."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _discard(number)


def _discard(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def explain_os_error(error: OSError) -> tuple[str, int] | None:
    """A message with the problem and its fix, and the exit code; None if the machine is not the cause."""
    from quorate.store import StoreUnavailable

    if isinstance(error, StoreUnavailable) and error.errno not in _FULL:
        return f"{error}; finished work is kept: run the same command again", 1
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    if error.errno in _FULL:
        quota = "the disk quota is used up" if error.errno == errno.EDQUOT else "no space is left on the disk"
        if isinstance(error, StoreUnavailable):
            quota = error.strerror or quota
        if place == OUTPUT:
            return f"{place} cannot be written: {quota}; make room, or redirect the output to another disk", 1
        where = f"{place} cannot be written: {quota}" if place else f"{quota}{_full_places()}"
        fix = (
            "make room (`quorate store collect --max-size SIZE`, `quorate runs remove RUN`) or choose another disk "
            "(QUORATE_STORE, QUORATE_RUNS, TMPDIR), and run the command again: finished work is kept"
        )
        return f"{where}; {fix}", 1
    if error.errno in _FORBIDDEN:
        why = "the file system is read-only" if error.errno == errno.EROFS else "permission denied"
        fix = "change its owner or mode, or choose another folder (`--store` or QUORATE_STORE, QUORATE_RUNS, `-o`)"
        return f"{place or 'a file'}: {why}; {fix}", 2
    if error.errno in _LIMITS:
        return f"{place}: {_LIMITS[error.errno]}" if place else _LIMITS[error.errno], 1
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and error.filename is not None:
        blocking = next((path for path in _above(Path(os.fsdecode(error.filename))) if path.is_file()), None)
        if blocking is not None:
            return f"{place}: {blocking} is a file where a folder is needed; move it away, or choose another folder", 2
    return None


def _above(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def _full_places() -> str:
    """A phrase that names this command's folders on full disks; empty if there are none."""
    places: dict[str, Path] = {}
    if "://" not in (runs := runs_address().removeprefix("file://")):
        places["runs"] = Path(runs)
    if "://" not in (store := store_uri().removeprefix("file://")):
        places["store"] = Path(store)
    try:
        places["TMPDIR"] = Path(tempfile.gettempdir())
    except OSError:  # no temporary folder is writable, because the disks are full
        places["/tmp"] = Path("/tmp")  # noqa: S108 - to look at its size
    full = []
    for what, folder in places.items():
        there = next((path for path in _above(folder.absolute()) if path.exists()), None)
        if there is not None and shutil.disk_usage(there).free < LITTLE:
            full.append(f"{what}, {there}")
    return f" of {'; '.join(full)}" if full else ""
