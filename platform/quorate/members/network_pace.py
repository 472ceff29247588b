"""Measure how fast this machine trains a network, to correct the estimate of the plan."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch.nn import functional

from quorate.data.signature import ImageSignature, Signature
from quorate.members.net_params import NetParams, expected_shape
from quorate.members.net_planning import net_numerics, training_cost
from quorate.members.net_start import build_network
from quorate.training.context import Hardware
from quorate.training.loop import autocast
from quorate.training.shapes import TableShape

SECONDS = 0.5
"""Longest step of the measurement, as estimated: the number of images is chosen accordingly. An assumption."""
BATCH, LEAST = 64, 4
"""Largest and smallest number of images of a step."""


class Pace(Protocol):
    """How much longer a training takes than `training_cost` says: less than 1 on a fast machine."""

    def __call__(self, params: Mapping[str, Any], signature: Signature) -> float: ...


def as_estimated(params: Mapping[str, Any], signature: Signature) -> float:
    """The pace of a machine that was not measured."""
    return 1.0


class MeasuredPace:
    """Measures each network once, by a training step on a CPU core."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._measured = functools.cache(self._measure)

    def __call__(self, params: Mapping[str, Any], signature: Signature) -> float:
        if params["kind"] != "net" or params.get("gpus") or not isinstance(signature, ImageSignature):
            return 1.0
        of_speed = {key: params[key] for key in ("kind", "arch", "size") if key in params}
        return self._measured(NetParams.model_validate({**of_speed, "epochs": 1}), signature)

    def _measure(self, params: NetParams, signature: ImageSignature) -> float:
        """The processor time of a step, divided by the estimate."""
        each = training_cost(params, signature=signature, rows=1)
        rows = max(LEAST, min(BATCH, int(SECONDS / each)))
        numerics = net_numerics(params, signature=signature, rows=rows, hardware=self._hardware)
        last = numerics.memory_format == "channels_last"
        memory = torch.channels_last if last else torch.contiguous_format
        shape = expected_shape(params, signature)
        assert not isinstance(shape, TableShape), "images only"
        height, width, channels = shape
        network = build_network(params, shape=shape, n_classes=2).to(memory_format=memory)
        x, y = torch.rand(rows, channels, height, width).to(memory_format=memory), torch.arange(rows) % 2
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(2):  # the first step prepares buffers and kernels
                begun = time.process_time()
                with autocast(numerics):
                    logits = network(x)
                functional.cross_entropy(logits.float(), y).backward()
            return (time.process_time() - begun) / (rows * each)
        finally:
            torch.set_num_threads(threads)
