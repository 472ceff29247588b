"""Resolve the numerical settings of a network's training, and estimate its cost."""

from __future__ import annotations

import functools
import math

from quorate.data.signature import ImageSignature, Signature
from quorate.members.base import PROCESS_MEMORY
from quorate.members.net_params import NetParams, check_inputs, expected_shape, profile
from quorate.registry import ARCHS, PRETRAININGS, KindParams
from quorate.training.context import Device, Hardware, MemoryUse, Numerics
from quorate.training.data_parallel import LEAST_ROWS
from quorate.training.feed import IN_MEMORY
from quorate.training.memory import Footprint, footprint, largest_batch
from quorate.training.shapes import Shape, TableShape

_ROW_VALUES = 100
"""Values that a step keeps per value of a row, if the network cannot be examined. An assumption, not a measurement."""


def net_numerics(params: NetParams, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
    """The precision, memory format, threads, device and batch size for this hardware and this number of training
    rows."""
    check_inputs(params, signature)
    convolutional = ARCHS.get(params.arch.kind).convolutional
    device: Device = "cuda" if params.accelerators > 0 else "cpu"
    # Measured on a CPU with avx512_bf16: below 16 pixels the conversions cost more time than bfloat16 saves, and
    # grouped convolutions took twice as long in bfloat16.
    shape = expected_shape(params, signature)
    small = isinstance(shape, TableShape) or min(shape[:2]) < 16
    seen = profile(params.arch, shape)
    suits = convolutional and not small and not seen.grouped
    worth_it = hardware.prefers_bfloat16(device) and (device == "cuda" or suits)
    chosen = ("bfloat16" if worth_it else "float32") if params.precision == "auto" else params.precision
    batch_size = _batch_size(params, shape, rows=rows, hardware=hardware, device=device)
    most = params.worker_range[1]
    if most > 1 and batch_size < LEAST_ROWS * most:
        raise ValueError(
            f"{most} workers need a batch of at least {LEAST_ROWS * most} rows, but with {rows} training rows it has "
            f"{batch_size}; lower workers"
        )
    return Numerics(
        precision=chosen,
        memory_format=seen.memory_format(convolutional=convolutional, device=device),
        threads=max(1, int(params.cpus)),
        device=device,
        batch_size=batch_size,
    )


def _batch_size(params: NetParams, shape: Shape, *, rows: int, hardware: Hardware, device: Device) -> int:
    if params.batch_size != "auto":
        return min(params.batch_size, rows)
    share = params.accelerators or params.cpus / hardware.cores
    steps_of = rows // params.accumulate  # so that an epoch still has enough steps of several batches each
    memory = params.worker_range[0] * int(min(share, 1) * hardware.memory_of(device))
    return largest_batch(_footprint(params.arch, shape, params.dropout), memory=memory, rows=steps_of)


@functools.lru_cache(maxsize=256)
def _footprint(arch: KindParams, shape: Shape, dropout: float) -> Footprint:
    kind = ARCHS.get(arch.kind)
    return footprint(lambda: kind.build(arch, shape=shape, n_classes=2, dropout=dropout), shape)


def training_memory(params: NetParams, *, signature: Signature, rows: int, numerics: Numerics) -> MemoryUse:
    """Estimated memory of a training on this number of rows."""
    step = _estimated_footprint(params, expected_shape(params, signature)).of(
        -(-numerics.batch_size // params.worker_range[0])
    )
    values = rows * signature.size
    if numerics.device == "cuda":  # it gets a copy of few images
        return MemoryUse(PROCESS_MEMORY, step + (values if values <= IN_MEMORY else 0))
    # The workers of a node share the images; a table becomes one matrix of float32.
    return MemoryUse(PROCESS_MEMORY + step + (0 if isinstance(signature, ImageSignature) else 4 * values))


def _estimated_footprint(params: NetParams, shape: Shape) -> Footprint:
    size = shape.size if isinstance(shape, TableShape) else math.prod(shape)
    unknown = Footprint(0, _ROW_VALUES * 4 * size)
    if ARCHS.reference(params.arch.kind) is not None:  # a user's network may need tensors with values
        return unknown
    try:
        return _footprint(params.arch, shape, params.dropout)
    except (RuntimeError, ValueError):  # so may an operation of a network of timm
        return unknown


def training_cost(params: NetParams, *, signature: Signature, rows: int) -> float:
    """Estimated seconds of the training on this number of rows, on one core."""
    flops = profile(params.arch, expected_shape(params, signature)).flops
    # A backward pass costs two forward passes. Measured on one core: 20 Gflop/s and 0.2 ms per image; 30 Gflop/s and
    # 1.5 ms per step on tables, which gives .8 to 1.9 of the seconds of 12 perceptrons on six tables.
    batch = 64 if params.batch_size == "auto" else params.batch_size
    image = isinstance(signature, ImageSignature)
    overhead = 2e-4 if image else 1.5e-3 / min(batch, rows)
    return float(rows * params.epochs * (3 * flops / (20e9 if image else 30e9) + overhead))


def pretraining_cost(params: NetParams, *, signature: Signature, rows: int) -> float:
    """Estimated seconds of the pretraining on this number of images, labelled or not, on one core."""
    if params.pretrain is None:
        return 0.0
    flops = profile(params.arch, expected_shape(params, signature)).flops
    passes = PRETRAININGS.get(params.pretrain.kind).passes
    return float(passes * rows * params.pretrain.epochs * (3 * flops / 20e9 + 2e-4))
