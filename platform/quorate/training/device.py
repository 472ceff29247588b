"""Choose the device that members predict on."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from quorate.errors import UserError
from quorate.training.context import Device

DeviceChoice = Literal["auto", "cpu", "cuda"]
"""`auto` takes an accelerator if PyTorch finds one."""


def device_of(choice: str) -> Device:
    """Return the device of a choice. Raises `UserError` for an unknown one, and for `cuda` without an accelerator."""
    if choice not in get_args(DeviceChoice):
        raise UserError(f"unknown device {choice!r}; choose one of {', '.join(get_args(DeviceChoice))}")
    if choice == "cpu":
        return "cpu"
    there = torch.cuda.is_available()
    if choice == "cuda" and not there:
        raise UserError(
            "the device is cuda, but PyTorch finds no accelerator on this machine; use --device cpu or --device auto "
            "(`quorate doctor` shows what PyTorch finds)"
        )
    return "cuda" if there else "cpu"
