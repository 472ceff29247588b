"""Networks of users' own architectures as ONNX: exported and checked after training, and loaded without the user's
code."""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from quorate.data.dataset import Inputs
from quorate.data.features import Features, load_features
from quorate.errors import UserError
from quorate.members.base import Proba, read_header
from quorate.registry.extras import how_to_install
from quorate.registry.own_code import describe_error
from quorate.training.context import Device, Numerics
from quorate.training.feed import Feed, feed_of
from quorate.training.tta import Tta, averaged

LOADER = "onnx"
"""Name of this module in a member's header."""
NETWORK = "network.onnx"
MOST_DIFFERENCE = 1e-4
"""Maximum difference between a probability of an exported network and PyTorch's: more than the rounding errors of
float32. An assumption, not a measurement."""
SAMPLE_ROWS = 64
"""Maximum number of validation rows for the comparison. An assumption, not a measurement."""
_OPSET = 18
"""Version of ONNX's operator set: the one that torch's exporter supports natively (`TORCHLIB_OPSET`)."""
_BATCH = 256
"""Number of rows per call, to limit the memory. An assumption, not a measurement."""
_NAMES: dict[str, Any] = {"input_names": ["x"], "output_names": ["logits"], "opset_version": _OPSET}


@dataclass(frozen=True)
class OnnxExport:
    """A network as ONNX, or the reason why there is none."""

    content: bytes | None
    difference: float
    reason: str = ""


def export(network: nn.Module, sample: torch.Tensor) -> OnnxExport:
    """Export `network` as ONNX, checked on the rows of `sample` (n, ...) as float32 inputs on the CPU.

    The tracing exporter takes a fifth of a second and does not see branches on values. If the predictions of its
    network differ, `torch.export` is tried, which takes seconds. The difference is measured on all rows, and on the
    first row alone.
    """
    reasons = []
    sample = sample if len(sample) > 1 else torch.cat([sample, sample])
    expected = _torch_proba(network, sample)
    for write in (_traced, _exported):
        try:
            content = _written(write, network, sample)
            answer = _Session(content)
            parts = [answer(sample.numpy()), answer(sample[:1].numpy())]
            difference = max(float(np.abs(part - expected[: len(part)]).max()) for part in parts)
        except ModuleNotFoundError as error:
            return OnnxExport(None, np.inf, f"{error.name} is not installed: {how_to_install('onnx')}")
        except Exception as error:  # noqa: BLE001  (exports fail in many ways)
            reasons.append(f"it cannot be exported: {describe_error(error)[:300]}")
            continue
        if difference <= MOST_DIFFERENCE:
            return OnnxExport(content, difference)
        reasons.append(f"the probabilities of its ONNX export differ by {difference:.1g}")
    return OnnxExport(None, np.inf, reasons[-1])


def save_as_onnx(network: nn.Module, sample: torch.Tensor | None, folder: Path, package: str) -> dict[str, Any]:
    """Write `network` as ONNX and return the header that loads it; if that fails, return the package that it requires,
    and why."""
    if sample is None:
        return {"requires": package, "reason": "it was not trained in this process"}
    plain = copy.deepcopy(network).to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    exported = export(plain.eval(), sample)
    if exported.content is None:
        return {"requires": package, "reason": exported.reason}
    (folder / NETWORK).write_bytes(exported.content)
    return {"loader": LOADER, "difference": exported.difference}


class SavedNetwork:
    """A trained network in ONNX Runtime, with one thread, that can only predict."""

    def __init__(self, content: bytes, features: Features, *, size: int | None, tta: Tta | None = None) -> None:
        self.history: list[dict[str, float]] = []
        self.features = features
        self._size = size
        self._tta = tta
        self._answer = _Session(content)

    def predict_proba(self, x: Inputs) -> Proba:
        """Return float32 (N, K)."""
        feed = feed_of(x, self.features, numerics=Numerics(), size=self._size)
        return averaged(self._of, feed, self._tta)

    def to(self, device: Device) -> None:
        """Do nothing: it computes on CPUs only."""

    def _of(self, feed: Feed) -> Proba:
        return np.concatenate([self._answer(batch.numpy()) for batch in feed.batches(_BATCH)])


def load(folder: Path) -> SavedNetwork:
    """Load the network of a member's folder; raises `UserError` if ONNX Runtime is not installed."""
    header = read_header(folder)
    features = load_features(folder, header["features"])
    params = header["params"]
    tta = Tta.model_validate(params["tta"]) if params.get("tta") is not None else None
    return SavedNetwork((folder / NETWORK).read_bytes(), features, size=params["size"], tta=tta)


class _Session:
    """Computes class probabilities of float32 inputs."""

    def __init__(self, content: bytes) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise UserError(
                f"it contains a network as ONNX, but {error.name} is not installed: {how_to_install('onnx')}"
            ) from None

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, x: np.ndarray) -> Proba:
        (logits,) = self._session.run(None, {self._input: np.ascontiguousarray(x)})
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        proba: Proba = exponents / exponents.sum(axis=1, keepdims=True)
        return proba


@torch.inference_mode()
def _torch_proba(network: nn.Module, x: torch.Tensor) -> Proba:
    proba: Proba = torch.softmax(network(x).float(), dim=1).numpy()
    return proba


def _written(write: Callable[[nn.Module, torch.Tensor, Path], None], network: nn.Module, sample: torch.Tensor) -> bytes:
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder, _quiet():
        path = Path(folder) / NETWORK
        write(network, sample, path)
        return path.read_bytes()


def _traced(network: nn.Module, sample: torch.Tensor, path: Path) -> None:
    axes = {"x": {0: "n"}, "logits": {0: "n"}}
    torch.onnx.export(network, (sample[:2],), path, dynamic_axes=axes, dynamo=False, **_NAMES)


def _exported(network: nn.Module, sample: torch.Tensor, path: Path) -> None:
    shapes = ({0: torch.export.Dim("n")},)
    torch.onnx.export(
        network, (sample[:2],), path, dynamic_shapes=shapes, dynamo=True, external_data=False, verbose=False, **_NAMES
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the output of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
