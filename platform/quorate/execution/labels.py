"""Match the labels of nodes with what units ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from quorate.plan.groups import allowed
from quorate.spec import ACCELERATOR_TYPE


def is_match(labels: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> bool:
    """Whether a node with these labels has all that are wanted; a value `in(a,b)` allows several, as in Ray."""
    return all(labels.get(name) in allowed(value) for name, value in wanted)


def labels_here() -> dict[str, str]:
    """The labels that a Ray of this machine has without being asked: the type of its accelerators."""
    return {ACCELERATOR_TYPE: accelerator_type()} if torch.cuda.device_count() else {}


def accelerator_type() -> str:
    """The type of this machine's accelerators."""
    name = torch.cuda.get_device_name(0)
    # As Ray names it (ray._private.accelerators.nvidia_gpu): "NVIDIA H100 80GB HBM3" is H100.
    found = re.match(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)", name)
    kind = found.group(1) if found else name.removeprefix("NVIDIA ")
    return kind.replace(" ", "-")
