"""Feature vectors from frozen networks for a classical member, scaled with statistics of its training rows."""

from __future__ import annotations

import weakref
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Images, Inputs
from quorate.data.extracted import ExtractedImages
from quorate.data.features import Encoding, Features, Matrix, fit_features, load_features
from quorate.data.signature import ImageSignature, signature_from_json
from quorate.data.standardize import Scheme
from quorate.data.table import Table
from quorate.data.table_features import scaling
from quorate.members.backbone import Backbone, Extractor, extractor, prepare
from quorate.training.context import Device, TaskContext

_WEIGHTS = "backbone.safetensors"
_SCALER = "scaler.skops"
_TRUSTED = ("numpy.dtype",)

_computed: weakref.WeakKeyDictionary[Images, dict[str, Matrix]] = weakref.WeakKeyDictionary()
"""Vectors of images that are still in use, by the network's identity: an ensemble requests them once per member and
fold."""


class BackboneFeatures:
    """Pooled features of one or several frozen networks, joined and scaled."""

    cardinalities: tuple[int, ...] = ()

    def __init__(self, extracts: Sequence[Extractor], signature: ImageSignature, *, scaler: Any, width: int) -> None:
        self.extracts, self.signature, self.scaler, self.width = tuple(extracts), signature, scaler, width

    def __call__(self, x: Inputs) -> Matrix:
        return self._scaled(_joined(x, self.extracts))

    def save(self, folder: Path) -> dict[str, Any]:
        import skops.io  # imports every estimator of scikit-learn: seconds

        saved = []
        for number, extract in enumerate(self.extracts):
            (folder / _weights_file(number)).write_bytes(extract.weights)
            backbone = extract.backbone.model_copy(update={"weights": "hub"})  # the saved file has the weights
            saved.append(
                {"backbone": backbone.model_dump(mode="json"), "memory_format": extract.numerics.memory_format}
            )
        if self.scaler is not None:
            skops.io.dump(self.scaler, folder / _SCALER, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        first, *others = saved
        return {
            "input": self.signature.to_json(),
            **first,
            **({"others": others} if others else {}),
            "scaled": self.scaler is not None,
            "width": self.width,
        }

    def on(self, device: Device) -> BackboneFeatures:
        """Return the same features, computed on this device."""
        there = [
            extractor(one.backbone, one.shape, one.weights, replace(one.numerics, device=device))
            for one in self.extracts
        ]
        return BackboneFeatures(there, self.signature, scaler=self.scaler, width=self.width)

    def _scaled(self, x: Matrix) -> Matrix:
        if self.scaler is None:
            return x
        with threadpool_limits(1):
            scaled: Matrix = np.ascontiguousarray(self.scaler.transform(x), dtype=np.float32)
        assert scaled.shape == (len(x), self.width), "the scaler keeps the number of columns"
        return scaled


def fit_any_features(
    x: Inputs, backbones: Sequence[Backbone], *, standardize: Scheme, encoding: Encoding, context: TaskContext
) -> Features:
    """Create the features of the training rows `x`: joined vectors of the backbones if there are any, otherwise pixels
    or columns."""
    if not backbones:
        return fit_features(x, standardize=standardize, encoding=encoding)
    assert not isinstance(x, Table), "inputs are checked earlier"
    extracts = [
        extractor(backbone, x.shape, _weights_for(x, backbone, context), backbone.numerics(x.shape))
        for backbone in backbones
    ]
    matrix = _joined(x, extracts)
    scaler, width = _fit_scaler(matrix, standardize), matrix.shape[1]
    if scaler is not None:
        width = scaler.transform(matrix[:1]).shape[1]
    return BackboneFeatures(extracts, x.signature, scaler=scaler, width=width)


def load_any_features(folder: Path, saved: Mapping[str, Any]) -> Features:
    """Load the features that `save` wrote, of any type; raises `ValueError` if the parts do not fit together."""
    if "backbone" not in saved:
        return load_features(folder, saved)
    import skops.io

    signature = signature_from_json(saved["input"])
    if not isinstance(signature, ImageSignature):
        raise ValueError(
            "the saved features are inconsistent: they have a backbone, which requires images, but the input is a table"
        )
    extracts = [
        _load_extractor(folder / _weights_file(number), one, signature)
        for number, one in enumerate([saved, *saved.get("others", ())])
    ]
    scaler = skops.io.load(folder / _SCALER, trusted=list(_TRUSTED)) if saved["scaled"] else None
    width = sum(extract.width for extract in extracts)
    if scaler is not None:
        width = scaler.transform(np.zeros((1, width), np.float32)).shape[1]
    if width != saved["width"]:
        raise ValueError(f"the saved features are inconsistent: {width} numbers instead of {saved['width']}")
    return BackboneFeatures(extracts, signature, scaler=scaler, width=width)


def _weights_file(number: int) -> str:
    """The name of the weights file of a member's first, second, ... network (from 0)."""
    return _WEIGHTS if number == 0 else f"backbone-{number + 1}.safetensors"


def _load_extractor(weights: Path, saved: Mapping[str, Any], signature: ImageSignature) -> Extractor:
    backbone = Backbone.model_validate({**saved["backbone"], "gpus": 0})
    numerics = backbone.numerics(signature.shape)
    if "memory_format" in saved:  # older files lack it and use the architecture's format
        numerics = replace(numerics, memory_format=saved["memory_format"])
    extract = extractor(backbone, signature.shape, weights.read_bytes(), numerics)
    _ = extract.ready  # reject weights that do not fit here, not at the first prediction
    return extract


def _joined(x: Inputs, extracts: Sequence[Extractor]) -> Matrix:
    """Return the vectors of all networks for each row, side by side."""
    matrices = [vectors_of(x, extract) for extract in extracts]
    return matrices[0] if len(matrices) == 1 else np.hstack(matrices)


def vectors_of(x: Inputs, extract: Extractor) -> Matrix:
    """Return the network's vector for each row, computed once per set of images."""
    assert not isinstance(x, Table), "inputs are checked earlier"
    if isinstance(x, ExtractedImages):
        for found in x.found:
            if found.identity == extract.identity:
                return x.matrix(found)
    known = _computed.setdefault(x, {})
    if extract.identity not in known:
        matrix = extract(x)
        assert matrix is not None, "nobody stops it"
        known[extract.identity] = matrix
    return known[extract.identity]


def _weights_for(x: Images, backbone: Backbone, context: TaskContext) -> bytes:
    """Return the network's tensors: those stored with the images, otherwise those made from the job's weights file or
    the hub."""
    if isinstance(x, ExtractedImages):
        for found in x.found:
            if found.backbone == backbone:
                return found.weights
    file = context.asset(backbone.weights) if isinstance(backbone.weights, Path) else None
    return prepare(backbone, x.shape, weights=file)


def _fit_scaler(matrix: NDArray[np.float32], standardize: Scheme) -> Any:
    from sklearn.pipeline import make_pipeline

    steps = scaling(standardize, rows=len(matrix), varies=bool((matrix != matrix[0]).any()))
    if not steps:
        return None
    with threadpool_limits(1):
        return make_pipeline(*steps).fit(matrix)
