"""Probe the hardware of a node: this machine, and each node of a cluster once."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import torch

from quorate.execution.container import memory_limit
from quorate.execution.labels import accelerator_type, labels_here
from quorate.plan.groups import Node
from quorate.training.context import Accelerator, Hardware

_ROOM = 0.7
"""Part of a machine's memory for its workers: Ray's object store takes the rest (ray._private.ray_constants)."""


def this_node() -> Node:
    """This machine, as a node."""
    hardware = this_hardware()
    labels = tuple(sorted(labels_here().items()))
    return Node(socket.gethostname(), hardware, labels, hardware.cores, hardware.gpus, hardware.room)


def this_hardware() -> Hardware:
    """The hardware of this machine."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    model = next((line.split(":")[1].strip() for line in flags.splitlines() if line.startswith("model name")), "")
    isa = torch.backends.cpu.get_cpu_capability()
    memory, limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), memory_limit()
    return Hardware(
        cores=os.cpu_count() or 1,
        gpus=torch.cuda.device_count(),
        fast_bfloat16="avx512_bf16" in flags or "amx_bf16" in flags,
        cpu=f"{model or platform.machine()} {isa}",
        memory=memory,
        memory_limit=limit,
        room=int(_ROOM * min(memory, limit or memory)),
        accelerator=_accelerator(),
    )


def _accelerator() -> Accelerator | None:
    if not torch.cuda.device_count():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory
    return Accelerator(accelerator_type(), memory, torch.cuda.is_bf16_supported())
