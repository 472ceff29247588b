"""The training loop against a bare PyTorch loop, a worker's memory settings against glibc's defaults, bfloat16 against
float32."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tests.benchmarks.pairs import compare
from torch.nn import functional
from torchvision.transforms import v2

from quorate.data.dataset import ArrayImages, Dataset
from quorate.execution.hardware import this_hardware
from quorate.execution.ray.cluster import KEEPS_MEMORY
from quorate.members.net import Net, NetParams
from quorate.members.net_start import first_network
from quorate.training.context import Metrics, Numerics, Signal, State

ROWS = 1280
MOBILE_NET = "timm/mobilenetv2_100"


class _Run:
    """A task context that ignores reports."""

    deadline = None
    restored = None
    unlabelled = None
    seed = 0

    def __init__(self, numerics: Numerics) -> None:
        self.numerics = numerics

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        return Signal.CONTINUE

    def asset(self, path: Path) -> Path:
        return path


def _data(side: int, channels: int = 1) -> Dataset:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (ROWS, side, side, channels), dtype=np.uint8)
    return Dataset(ArrayImages(pixels), random.integers(0, 10, ROWS), tuple("0123456789"))


def _fit(params: NetParams, data: Dataset, numerics: Numerics) -> Callable[[], object]:
    return lambda: Net(params, signature=data.signature, n_classes=10).fit(
        data, data.take(np.arange(64)), _Run(numerics)
    )


def _bare(params: NetParams, data: Dataset, numerics: Numerics) -> Callable[[], object]:
    """A minimal training loop with the same network, precision and memory format.

    It does what ours does: standardizes by the training rows' channels, augments, validates the 64 rows at the end.
    torchvision augments a batch in one call, with one draw for all of its images: the least that it can cost.
    """
    side = data.signature.shape[0]
    augment = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(side, padding=side // 14)])

    def train() -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        member = Net(params, signature=data.signature, n_classes=10)
        network = (
            first_network(member.params, shape=member._shape(), n_classes=member.n_classes, context=_Run(numerics))
            .to(memory_format=torch.channels_last)
            .train()
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-3)
        pixels = torch.from_numpy(data.x.take(np.arange(ROWS))).permute(0, 3, 1, 2)
        y = torch.from_numpy(data.y)
        floats = pixels.float()
        mean, std = (moment((0, 2, 3)).view(1, -1, 1, 1) for moment in (floats.mean, floats.std))
        precision = torch.autocast("cpu", torch.bfloat16, enabled=numerics.precision == "bfloat16")

        def logits_of(images: torch.Tensor) -> torch.Tensor:
            x = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
            with precision:
                return network(x).float()

        for rows in torch.randperm(ROWS).split(64):
            loss = functional.cross_entropy(logits_of(augment(pixels[rows])), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            functional.cross_entropy(logits_of(pixels[:64]), y[:64])

    return train


def _planned(params: NetParams, data: Dataset) -> Numerics:
    return Net.numerics(params, signature=data.signature, rows=ROWS, hardware=this_hardware())


def loops() -> None:
    """Ours beside a bare one, in a process that keeps its memory as a worker does: with either, its luck with pages
    would weigh more than the loops' difference."""
    for arch, side, channels in (("small_cnn", 28, 1), ("small_resnet", 28, 1), (MOBILE_NET, 96, 3)):
        data, params = _data(side, channels), _augmented(arch, side)
        planned = _planned(params, data)
        compare(
            f"{arch} {side}x{side}: the loop over a bare loop",
            _fit(params, data, planned),
            _bare(params, data, planned),
        )


def _augmented(arch: str, side: int) -> NetParams:
    return NetParams(arch=arch, epochs=1, augment={"mirror": True, "crop": side // 14})


def _in_a_thread() -> None:
    """One epoch of MobileNetV2, in a thread as a worker's tasks are: glibc gives it an arena of its own."""
    data, params = _data(96, 3), _augmented(MOBILE_NET, 96)
    torch.set_num_threads(1)
    thread = threading.Thread(target=_fit(params, data, _planned(params, data)))
    thread.start()
    thread.join()


def memory() -> None:
    """A worker that keeps freed memory against one that returns it, each in its own process."""
    fresh = multiprocessing.get_context("spawn")  # glibc reads its settings when a process starts
    with ProcessPoolExecutor(1, fresh) as keeps, ProcessPoolExecutor(1, fresh) as gives_back:
        keeps.submit(_in_a_thread).result()
        for name in KEEPS_MEMORY:
            del os.environ[name]
        compare(
            "timm/mobilenetv2_100 96x96: a worker's memory over glibc's",
            lambda: keeps.submit(_in_a_thread).result(),
            lambda: gives_back.submit(_in_a_thread).result(),
            pairs=6,
        )


def precisions() -> None:
    for arch, side in (("small_cnn", 8), ("small_cnn", 28), ("small_resnet", 28), ("timm/mobilenetv3_small_050", 32)):
        data, params = _data(side), NetParams(arch=arch, epochs=1)
        numerics = _planned(params, data)
        kinds = [replace(numerics, precision=precision) for precision in ("bfloat16", "float32")]
        name = f"{arch} {side}x{side}: bfloat16 over float32 (planned: {numerics.precision})"
        compare(name, _fit(params, data, kinds[0]), _fit(params, data, kinds[1]), pairs=6)


def main() -> None:
    """One epoch of 1,280 rows, batch 64, one thread."""
    print("speed of one epoch, ratio of A over B (above 1: A is faster), median of the pairs [its 95 % interval]")
    loops()
    precisions()
    memory()
