"""Reads a user's own weights file; the only place where `torch.load` is called."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from quorate.errors import UserError


class WeightsError(UserError):
    """The weights cannot be used, with the reason."""


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a `.safetensors`, `.pth` or `.pt` file; raises `WeightsError`.

    A checkpoint that holds its weights under `state_dict` or `model` is understood.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable weights file: {error}") from None
    except Exception as error:  # weights_only raises pickle's own errors, by several names
        if type(error).__name__ != "UnpicklingError":
            raise
        raise WeightsError(f"{path} holds more than tensors and is not read; save its state_dict") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path} does not hold a mapping of names to tensors; save the network's state_dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
