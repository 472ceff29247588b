"""Record the fault that ends a process, and report it at the next start of the same job."""

from __future__ import annotations

import faulthandler
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quorate.runs.folder import BOARD, RunFolder

LOG = "crash.log"
_STARTED = re.compile(r"^\S+ attempt \d+ on (?P<host>.+):(?P<pid>\d+)", re.MULTILINE)
_GOES_ON = re.compile(r"^\S+ (attempt \d+ on|epoch \d+:) ")
"""Lines of a task's log after which an attempt goes on; all other lines end it."""


@contextmanager
def recorded(folder: RunFolder) -> Iterator[None]:
    """Within this context, a fault of this process (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL) is written to the run
    folder.

    The file `logs/crash.log` then contains the signal and the stacks of all threads. A fault handler that is enabled
    already (by `PYTHONFAULTHANDLER`, or by pytest) is left as it is.
    """
    if faulthandler.is_enabled():
        yield
        return
    path = folder.path / "logs" / LOG
    with path.open("w", encoding="utf-8") as file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
    if not path.stat().st_size:
        path.unlink()


def ended_without_a_word(runs: Path, name: str) -> str | None:
    """Describe what the newest earlier run of the job `name` did when its process died; None if it ended normally."""
    pattern = re.compile(re.escape(name) + r"-\d{8}-\d{6}(-\d+)?")
    before = [path.parent for path in runs.glob(f"{name}-*/job.json") if pattern.fullmatch(path.parent.name)]
    if not before:
        return None
    newest = max(before, key=lambda path: (path / "job.json").stat().st_mtime)
    cut = [log for log in sorted((newest / "logs").glob("*.log")) if log.name != LOG and _was_cut(log)]
    crash = newest / "logs" / LOG
    fault = crash.read_text(encoding="utf-8", errors="replace").splitlines()[:1] if crash.is_file() else []
    if (newest / BOARD).is_file() or not (cut or fault):
        return None
    reason = (
        f"{fault[0]} (the stacks are in {crash})"
        if fault
        else "no fault was recorded, so it was killed (SIGKILL, perhaps out of memory), or the machine went down"
    )
    doing = f" while it worked on {', '.join(str(log) for log in cut)}" if cut else ""
    return f"the run {newest.name} ended unexpectedly{doing}: {reason}; its finished tasks and checkpoints are used"


def _was_cut(log: Path) -> bool:
    """Whether the last attempt in a task's log did not end, although its process no longer exists."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines, started = text.splitlines(), _STARTED.findall(text)
    if not lines or not started or not _GOES_ON.match(lines[-1]):
        return False
    host, pid = started[-1]
    return host != socket.gethostname() or not Path(f"/proc/{pid}").exists()
