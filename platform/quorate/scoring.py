"""Offline scores: images, folders and archives in; a table with a class and its probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quorate.bundle import Bundle
from quorate.data.dataset import Pixels
from quorate.data.images import ImageError, read_image
from quorate.data.source import DataError
from quorate.data.sources.image_folder import SUFFIXES
from quorate.data.sources.npz import read_images
from quorate.errors import UserError

OUTPUTS = (".csv", ".parquet", ".npz")
_CHUNK = 1024


def check_output(path: Path) -> None:
    """Raise `UserError` before any work where the scores could not be written."""
    if path.suffix not in OUTPUTS:
        raise UserError(f"-o {path}: the ending must be one of {', '.join(OUTPUTS)}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {path}: there is no folder {path.absolute().parent}")


def read_inputs(inputs: Sequence[Path], bundle: Bundle) -> Iterator[tuple[list[str], Pixels]]:
    """Names and uint8 (n, H, W, C) of all inputs in order, in chunks; raises `UserError` with the file."""
    images: list[Path] = []
    archives: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not found:
                raise UserError(f"{path} holds no JPEG or PNG files")
            images += found
        elif not path.exists():
            raise UserError(f"there is no {path}")
        elif path.suffix == ".npz":
            archives.append(path)
        elif path.suffix.lower() in SUFFIXES:
            images.append(path)
        else:
            raise UserError(f"{path}: expected a JPEG or PNG image, a folder of them, or an .npz archive")
    return _chunks(images, archives, bundle)


def _chunks(images: Sequence[Path], archives: Sequence[Path], bundle: Bundle) -> Iterator[tuple[list[str], Pixels]]:
    resize = bundle.manifest["input"]["resize"]
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        try:
            pixels = np.stack([read_image(path, shape=bundle.shape, resize=resize) for path in part])
        except ImageError as error:
            raise UserError(str(error)) from None
        yield [str(path) for path in part], pixels
    for path in archives:
        try:
            archive = read_images(path)
        except DataError as error:
            raise UserError(str(error)) from None
        if archive.shape[1:] != bundle.shape:
            raise UserError(f"{path}: images of {archive.shape[1:]}, the ensemble takes {bundle.shape} (H, W, C)")
        for start in range(0, len(archive), _CHUNK):
            pixels = archive[start : start + _CHUNK]
            yield [f"{path}[{start + i}]" for i in range(len(pixels))], pixels


def score(bundle: Bundle, rows: Iterator[tuple[list[str], Pixels]]) -> pd.DataFrame:
    """One row an input: `input`, `class`, and a column of probabilities for each class."""
    names: list[str] = []
    proba = []
    for chunk, pixels in rows:
        names += chunk
        proba.append(bundle.predict(pixels).proba)
    whole = np.concatenate(proba)
    classes = np.array(bundle.class_names)
    table = pd.DataFrame(whole, columns=[f"p({name})" for name in classes])
    table.insert(0, "class", classes[whole.argmax(axis=1)])
    table.insert(0, "input", names)
    return table


def write_scores(path: Path, scores: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Write beside its place, then rename: a file is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    if path.suffix == ".csv":
        scores.to_csv(partial, index=False)
    elif path.suffix == ".parquet":
        scores.to_parquet(partial, index=False)
    else:
        proba = scores.iloc[:, 2:].to_numpy()
        inputs, classes = scores["input"].to_numpy(str), scores["class"].to_numpy(str)
        np.savez(
            partial, allow_pickle=False, proba=proba, input=inputs, prediction=classes, classes=np.array(class_names)
        )
    partial.replace(path)
