"""The content of a lease: its number and the process that holds it."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

HELD: set[str] = set()
"""The tokens of the leases that this process holds or waits for."""


@dataclass(frozen=True)
class LeaseHolder:
    """The process that holds a lease."""

    host: str
    pid: int
    born: str | None
    """Distinguishes the process from a later one with the same number."""
    machine: str | None = None
    """Distinguishes machines and containers whose host name is the same; None if that is unknown."""
    token: str = ""
    """A random text for each acquisition."""
    since: str = ""
    """When it took the lease, on its own clock (UTC)."""
    about: str = ""
    """What it says about its work; for a job, the address of its run."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class LeaseRecord:
    """The content of a lease."""

    number: int
    """The fencing number: one more for each acquisition, kept when the lease is released."""
    holder: LeaseHolder | None = None
    """None if the lease is free."""
    beats: int = 0

    def to_bytes(self) -> bytes:
        holder = {} if self.holder is None else asdict(self.holder) | {"beats": self.beats}
        return json.dumps({"number": self.number, **holder}).encode()

    @classmethod
    def of(cls, content: bytes | None) -> LeaseRecord:
        """Read a lease, also of earlier versions; one that does not exist or cannot be read is free."""
        try:
            said = json.loads(content or b"{}")
            number = int(said.get("number", 0))
            if "host" not in said:
                return cls(number)
            holder = LeaseHolder(
                said["host"],
                said["pid"],
                said["born"],
                said.get("machine"),
                said.get("token", ""),
                said.get("since", ""),
                said.get("about", ""),
            )
            return cls(number, holder, said["beats"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(0)


def is_here(holder: LeaseHolder) -> bool:
    """Return whether the holder is or was a process of this machine and container."""
    return holder.host == socket.gethostname() and holder.machine == machine()


def is_gone(holder: LeaseHolder) -> bool:
    """Return whether the holder has ended, if it was a process of this machine, or is this one and has released it."""
    if not is_here(holder):
        return False
    return _born(holder.pid) != holder.born or (holder.pid == os.getpid() and holder.token not in HELD)


def this_process() -> LeaseHolder:
    """Return this process as the holder of a new acquisition."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = os.getpid()
    return LeaseHolder(socket.gethostname(), pid, _born(pid), machine(), secrets.token_hex(8), now)


@cache
def machine() -> str | None:
    """Return the boot and the process namespace of this process; None if the system does not provide them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _born(pid: int) -> str | None:
    """Return a value that distinguishes a process from a later one with the same number; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "alive"
    return None if fields[0] == "Z" else fields[19]
