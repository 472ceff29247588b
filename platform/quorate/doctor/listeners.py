"""Find the sockets on which the processes of this machine wait for connections."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections."""

    port: int
    address: str
    inode: str

    @property
    def is_local(self) -> bool:
        """Whether only processes of the same machine can connect."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Process:
    """A process that can be seen from here."""

    pid: int
    name: str
    command: str
    """Its command line, with spaces between the words."""

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


def listeners() -> list[Listener]:
    """All sockets that wait for connections, from /proc; empty on systems other than Linux."""
    found = []
    for table in ("tcp6", "tcp"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            address, _, port = fields[1].partition(":")
            if fields[3] == _LISTENING:
                found.append(Listener(int(port, 16), _readable(address), fields[9]))
    return found


def owners() -> dict[str, Process]:
    """The process of each open socket by the socket's inode, as far as it is visible."""
    found: dict[str, Process] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        inodes = list(_sockets_of(folder))
        if inodes and (process := _process(folder)) is not None:
            found |= dict.fromkeys(inodes, process)
    return found


def _sockets_of(folder: Path) -> Iterator[str]:
    try:
        for entry in (folder / "fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
    except OSError:  # the process has ended, or belongs to another user
        return


def _process(folder: Path) -> Process | None:
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return Process(int(folder.name), (folder / "comm").read_text().strip(), command)
    except OSError:
        return None


def _readable(address: str) -> str:
    """An address of /proc/net/tcp, whose 32-bit words are in the order of the processor."""
    words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
    if len(words) == 1:
        return socket.inet_ntoa(words[0])
    given = ipaddress.IPv6Address(b"".join(words))
    return str(given.ipv4_mapped or given)
