"""The data sets that the defaults are measured on: their training rows, and both parts joined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.in_memory import infer_inputs
from quorate.data.table import Table
from quorate.members.backbone import Backbone, extractor, prepare
from quorate.members.backbone_features import vectors_of
from quorate.registry import DATASETS

DATA = Path(os.environ.get("QUORATE_DATA", Path(__file__).parents[3] / "shared" / "data"))
TABLES = ("letter", "satellite", "dna", "soybean", "vehicle")


def _csv(folder: Path, label: str, **rest: Any) -> dict[str, Any]:
    return {"kind": "csv", "train": folder / "train.csv", "test": folder / "test.csv", "label": label, **rest}


SOURCES: dict[str, dict[str, Any]] = {
    "adult": _csv(DATA / "adult", "income", missing=["?"]),
    **{name: _csv(DATA / "tables" / name, "target") for name in TABLES},
    "digits": {"kind": "digits", "test": {"fraction": 0.25, "seed": 0}},
    "fashion": {
        "kind": "npz",
        "train": DATA / "fashion_mnist" / "train.npz",
        "test": DATA / "fashion_mnist" / "test.npz",
    },
}

SIDE = 128
"""Side of the centre crop of a photograph, in pixels."""


def opened(name: str) -> tuple[Dataset, Dataset]:
    """The training rows and the test rows."""
    kind = DATASETS.get(SOURCES[name]["kind"])
    found = kind.open(kind.Params.model_validate(SOURCES[name]))
    assert found.test is not None
    return found.train, found.test


def training_rows(name: str, most: int) -> Dataset:
    """At most `most` training rows, stratified by class; `flowers` are the features of a frozen network."""
    if name != "flowers":
        return sample(opened(name)[0], most)
    kind = DATASETS.get("image_folder")
    folder = DATA / "flowers" / "train"
    rows = kind.open(kind.Params.model_validate({"kind": "image_folder", "train": folder, "size": SIDE})).train
    rows = sample(rows, most)
    weights, shape = DATA / "weights" / "tf_efficientnet_lite0.in1k.safetensors", (SIDE, SIDE, 3)
    backbone = Backbone(arch="timm/tf_efficientnet_lite0", weights=weights)
    extract = extractor(backbone, shape, prepare(backbone, shape, weights=weights), backbone.numerics(shape))
    return Dataset(infer_inputs(vectors_of(rows.x, extract).astype(np.float64)), rows.y, rows.class_names)


def joined(first: Dataset, second: Dataset) -> Dataset:
    """The rows of both parts."""
    y = np.concatenate([first.y, second.y])
    if isinstance(first.x, Table) and isinstance(second.x, Table):
        frames = [
            table.frame.astype(dict.fromkeys(table.signature.names("categorical"), object))
            for table in (first.x, second.x)
        ]
        x: Table | ArrayImages = Table.of(pd.concat(frames, ignore_index=True), first.x.signature)
    else:
        x = ArrayImages(np.concatenate([data.x.take(np.arange(len(data))) for data in (first, second)]))
    return Dataset(x, y, first.class_names)


def sample(data: Dataset, rows: int, *, seed: int = 0) -> Dataset:
    """At most `rows` of the rows, stratified by class."""
    if len(data) <= rows:
        return data
    kept, _ = train_test_split(np.arange(len(data)), train_size=rows, stratify=data.y, random_state=seed)
    return data.take(np.sort(kept))
