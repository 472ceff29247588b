"""Training states as bytes: tensors in safetensors, everything else as JSON, and never pickle."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from quorate.training.context import State

_TENSOR, _ARRAY, _PAIRS, _TUPLE = "__tensor__", "__array__", "__pairs__", "__tuple__"


class StateError(ValueError):
    """The bytes are not a training state."""


def pack_state(state: State) -> bytes:
    """Pack a tree of dicts, lists, tuples, JSON scalars, tensors and arrays into one safetensors file."""
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_flatten(state, tensors))
    return save(tensors, metadata={"tree": tree})


def unpack_state(content: bytes) -> State:
    """Invert `pack_state`; raises `StateError`."""
    try:
        (size,) = struct.unpack_from("<Q", content)
        tree = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["tree"])
        state: State = _restore(tree, load(content))
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError) as error:
        raise StateError(f"not a training state: {error}") from None
    return state


def _flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray):
        name = str(len(tensors))
        tensor = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value.detach().cpu()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        return {_ARRAY if isinstance(value, np.ndarray) else _TENSOR: name}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _flatten(item, tensors) for key, item in value.items()}
        return {_PAIRS: [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_flatten(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_flatten(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__}")


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _ARRAY in value:
        return tensors[value[_ARRAY]].numpy()
    if _PAIRS in value:
        return {key: _restore(item, tensors) for key, item in value[_PAIRS]}
    if _TUPLE in value:
        return tuple(_restore(item, tensors) for item in value[_TUPLE])
    return {key: _restore(item, tensors) for key, item in value.items()}


def global_random_state() -> State:
    """Return the states of torch's global generators: on the CPU, and on CUDA if it is in use."""
    return {
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore_global_random_state(saved: State) -> None:
    """Restore the states that `global_random_state` returned, from a checkpoint that contains them."""
    torch.set_rng_state(saved["random"])
    if saved["cuda_random"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda_random"])
