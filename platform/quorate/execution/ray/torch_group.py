"""The process group of torch in which the workers of a network talk to each other."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

_SIOCGIFADDR = 0x8915
"""Asks for the address of an interface (netdevice(7))."""


@dataclass
class TorchGroup(TorchConfig):  # type: ignore[misc]
    """Settings of Ray Train's process group, whose gloo uses the interface with the address of the worker's node.

    By default, gloo uses the address of the machine's name. On many machines this is a loopback address (127.0.1.1 in
    /etc/hosts), which workers on other machines cannot reach.
    """

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _TorchGroupBackend


class _TorchGroupBackend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_use_interface_of_node)
        super().on_start(worker_group, backend_config)


def _use_interface_of_node() -> None:
    interface = interface_of(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def interface_of(address: str) -> str | None:
    """The network interface of this machine with an IPv4 address; None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
