"""Rows that a Python program holds: arrays of numbers, data frames, and images as NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from quorate.data.dataset import ArrayImages, Inputs
from quorate.data.signature import Column, ImageSignature, Signature, TableSignature
from quorate.data.source import DataParams
from quorate.data.table import Table, infer_signature


class InMemoryParams(DataParams):
    """Stands in a job for rows that were handed over rather than opened."""

    kind: Literal["in_memory"] = "in_memory"


def infer_inputs(x: Any) -> Inputs:
    """Images where `x` is an image array, else a table with the kinds of columns that its values tell.

    The columns of an array (n, columns) of numbers are numeric and called x0, x1 and so on. Raises
    `ValueError`.
    """
    if is_image_array(x):
        return as_images(x)
    if isinstance(x, pd.DataFrame):
        named = _named(x)
        return Table.of(named, infer_signature(named, {}, categories=True))
    numbers = np.asarray(x)
    signature = TableSignature(tuple(Column(f"x{i}", "numeric") for i in range(numbers.shape[1])))
    return as_inputs(numbers, signature)


def as_inputs(x: Any, signature: Signature) -> Inputs:
    """Rows of a known kind: uint8 images, a data frame with these columns, or an array (n, columns) in their order.

    Raises `ValueError` where `x` is something else.
    """
    if isinstance(signature, ImageSignature):
        if not is_image_array(x):
            raise ValueError(f"{signature} are needed, uint8 (n, H, W) or (n, H, W, C); this is {_described(x)}")
        images = as_images(x)
        if images.shape != signature.shape:
            raise ValueError(f"images of {images.shape} (H, W, C), but the ensemble takes {signature.shape}")
        return images
    if isinstance(x, pd.DataFrame):
        return Table.of(_named(x), signature)
    values = np.asarray(x)
    if values.ndim != 2 or values.shape[1] != signature.size:
        raise ValueError(f"{signature} are needed, as (n, {signature.size}); this is {_described(x)}")
    return Table.of(pd.DataFrame(values, columns=signature.names()), signature)


def is_image_array(x: Any) -> bool:
    """Whether `x` is uint8 (n, H, W) or (n, H, W, C)."""
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim in (3, 4)


def as_images(pixels: np.ndarray) -> ArrayImages:
    """uint8 (n, H, W) or (n, H, W, C); raises `ValueError` where nothing is in it."""
    if 0 in pixels.shape:
        raise ValueError(f"images of shape {pixels.shape}: there is nothing to see")
    return ArrayImages(pixels[..., None] if pixels.ndim == 3 else pixels)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with text as names of its columns."""
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns must differ by their names; these stand twice: {', '.join(twice)}")
    return frame.set_axis(names, axis=1)


def _described(x: Any) -> str:
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    return f"{type(x).__name__}" + (f" of shape {shape}" if shape is not None else "") + (f", {dtype}" if dtype else "")
