"""Read a user's own weights file; the only place where `torch.load` is called."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from quorate.errors import UserError
from quorate.training.backbone import head_names


class WeightsError(UserError):
    """The weights cannot be used; the message gives the reason."""


def read_weights(path: Path, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """Return tensors by name from a `.safetensors`, `.pth` or `.pt` file; raises `WeightsError`.

    The weights of a checkpoint may be under the key `state_dict` or `model`. With `shapes_only` the tensors are on the
    device `meta`, and the values are not read.
    """
    try:
        if path.suffix == ".safetensors":
            return _shapes(path) if shapes_only else load_file(path)
        content = torch.load(path, map_location="meta" if shapes_only else "cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable weights file: {error}") from None
    except Exception as error:  # noqa: BLE001  (the unpickler may raise anything on an invalid file)
        if type(error).__name__ == "UnpicklingError":
            raise WeightsError(
                f"{path} contains other objects than tensors, so it is not loaded; save only the state_dict"
            ) from None
        raise WeightsError(f"{path} is not a readable weights file ({type(error).__name__}: {error})") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path} does not contain a mapping of names to tensors; save the network's state_dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _shapes(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], *, source: str, arch: str) -> None:
    """Load these weights into `network`; a head of another shape keeps its initial weights.

    `source` and `arch` are named in the message. Raises `WeightsError` if the weights do not fit.
    """
    own = network.state_dict()
    try:
        heads = tuple(f"{name}." for name in head_names(network))
    except ValueError:
        heads = ()
    other = {
        name: own[name]
        for name, tensor in weights.items()
        if name in own and name.startswith(heads) and tensor.shape != own[name].shape
    }
    try:
        network.load_state_dict({**weights, **other})
    except RuntimeError as error:
        raise WeightsError(f"{source} does not fit {arch}: {error}") from None
