"""Which convolutions oneDNN computes wrongly: `python -m tests.benchmarks.convolutions [SECONDS]`.

Convolutions of many shapes are computed three times, forward and back, and compared with float64. This happens in child
processes, in which a write beyond a block of memory is a SIGSEGV (`guard.c`, compiled with `cc`). Set
`ONEDNN_MAX_CPU_ISA=AVX2` to measure that path of oneDNN.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional

_SECONDS = 120.0
_TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
_TOGETHER = 100
"""Number of shapes per child process."""


@dataclass(frozen=True)
class Shape:
    precision: str
    layout: str
    channels: int
    outputs: int
    height: int
    width: int
    stride: tuple[int, int]
    kernel: int = 1
    groups: int = 1
    rows: int = 4
    transposed: bool = False

    @property
    def what(self) -> str:
        kind = "transposed " * self.transposed + ("grouped " if self.groups > 1 else "")
        strided = "strided" if max(self.stride) > 1 else "unstrided"
        return f"{self.layout}, {self.precision}, {kind}{self.kernel}x{self.kernel}, {strided}"


def shapes() -> Iterator[Shape]:
    """Strided 1x1 convolutions with 1 to 32 channels in order, then random ones."""
    for precision, layout, side, channels in itertools.product(
        ("float32", "bfloat16"), ("channels last", "contiguous"), (8, 64, 112), range(1, 33)
    ):
        yield Shape(precision, layout, channels, 8, side, side, (2, 2))
    draw = random.Random(0)
    while True:
        groups = draw.choice((1, 1, 1, 2, 3, 8))
        yield Shape(
            draw.choice(("float32", "bfloat16")),
            draw.choice(("channels last", "channels last", "contiguous")),
            groups * draw.randint(1, 40 // groups),
            groups * draw.choice((1, 3, 8, 16)),
            draw.choice((4, 7, 8, 12, 16, 32, 33, 48, 64, 112)),
            draw.choice((4, 7, 8, 12, 16, 32, 33, 48, 64, 112)),
            draw.choice(((1, 1), (2, 2), (2, 1), (1, 2), (3, 3), (4, 4))),
            kernel=draw.choice((1, 1, 3)),
            groups=groups,
            rows=draw.choice((1, 3, 8)),
            transposed=draw.random() < 0.15,
        )


def faults(shape: Shape) -> list[str]:
    """What is wrong with the results of three runs."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape.rows, shape.channels, shape.height, shape.width, generator=draw)
    sides = (shape.outputs, shape.channels) if not shape.transposed else (shape.channels, shape.outputs)
    w = torch.randn(sides[0], sides[1] // shape.groups, shape.kernel, shape.kernel, generator=draw)

    def run(dtype: torch.dtype, *, exact: bool) -> list[torch.Tensor]:
        last = shape.layout == "channels last" and not exact
        memory = torch.channels_last if last else torch.contiguous_format
        rows, weight = (t.to(dtype).clone().contiguous(memory_format=memory).requires_grad_() for t in (x, w))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=shape.precision == "bfloat16" and not exact):
            if shape.transposed:
                rest = tuple(step - 1 for step in shape.stride) if shape.kernel == 1 else 0
                y = functional.conv_transpose2d(
                    rows, weight, stride=shape.stride, output_padding=rest, groups=shape.groups
                )
            else:
                y = functional.conv2d(rows, weight, stride=shape.stride, groups=shape.groups)
        way = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        y.backward(way.to(y.dtype).contiguous(memory_format=memory))
        return [part.detach().double() for part in (y, rows.grad, weight.grad) if part is not None]

    found = []
    first, *others = [run(torch.float32, exact=False) for _ in range(3)]
    if any(not torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True)):
        found.append("equal runs differ")
    for name, got, right in zip(("output", "dx", "dw"), first, run(torch.float64, exact=True), strict=True):
        if not (got - right).norm() <= _TOLERANCE[shape.precision] * right.norm().clamp_min(1e-6):
            found.append(f"{name} is wrong")
    return found


def _in_child(batch: list[Shape]) -> list[list[str]]:
    """The faults of each shape until the child process ends; if a signal kills it, that is the last fault."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        os.close(reader)
        for shape in batch:
            os.write(writer, json.dumps(faults(shape)).encode() + b"\n")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found: list[list[str]] = [json.loads(line) for line in file]
    _, status = os.waitpid(pid, 0)
    return [*found, [signal.Signals(os.WTERMSIG(status)).name]] if os.WIFSIGNALED(status) else found


def main(seconds: float) -> None:
    torch.set_num_threads(1)
    print(torch.__version__, "oneDNN, at most", os.environ.get("ONEDNN_MAX_CPU_ISA", "all of the processor"))
    deadline, every, waiting = time.monotonic() + seconds, shapes(), list[Shape]()
    tried, bad = 0, defaultdict[str, list[Shape]](list)
    while time.monotonic() < deadline:
        waiting = waiting or list(itertools.islice(every, _TOGETHER))
        found = _in_child(waiting)
        for shape, wrong in zip(waiting, found, strict=False):
            tried += 1
            if wrong:
                bad[f"{shape.what}: {', '.join(wrong)}"].append(shape)
        waiting = waiting[len(found) :]
    print(f"{tried} shapes")
    for what, which in sorted(bad.items()):
        channels = sorted({shape.outputs if shape.transposed else shape.channels for shape in which})
        print(f"{what}: {len(which)} shapes, of {channels} channels, such as {asdict(which[0])}")


if __name__ == "__main__":
    if "QUORATE_GUARDED" not in os.environ:
        guard = Path(tempfile.mkdtemp()) / "guard.so"
        source = Path(__file__).with_name("guard.c")
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(guard), "-ldl", "-lpthread"], check=True
        )
        more = {"LD_PRELOAD": str(guard), "QUORATE_GUARDED": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.convolutions", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **more})
    main(float(sys.argv[1]) if len(sys.argv) > 1 else _SECONDS)
