"""Convert rows of a Python program: arrays of numbers, data frames, and images as NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from quorate.data.dataset import ArrayImages, Inputs
from quorate.data.signature import Column, ImageSignature, Signature, TableSignature
from quorate.data.source import DataParams
from quorate.data.table import Table, infer_signature

_NO_CHANNELS = 16
"""If the second axis of an image array has size 1 or 4 and the last axis has at least this size, the axes are taken as
(n, C, H, W). An assumption, not a measurement."""


class InMemoryParams(DataParams):
    """The data of a job whose rows were passed from Python, not opened from files."""

    kind: Literal["in_memory"] = "in_memory"


def infer_inputs(x: Any) -> Inputs:
    """Return images if `x` is an image array, otherwise a table whose column kinds are inferred from the values.

    The columns of an array (n, columns) of numbers are numeric and named x0, x1 and so on. A column of a data frame
    without any value is numeric too. Raises `ValueError`.
    """
    x = as_array(x)
    if is_image_array(x):
        return as_images(x)
    if isinstance(x, pd.DataFrame):
        named = _named(x)
        if 0 in named.shape:
            raise ValueError(f"a data frame of shape {named.shape}; at least one row and one column are required")
        empty = named.columns[named.isna().all()]
        return Table.of(named, infer_signature(named, dict.fromkeys(empty, "numeric"), categories=True))
    numbers = np.asarray(x)
    if numbers.ndim != 2:
        raise ValueError(_refusal(numbers))
    signature = TableSignature(tuple(Column(f"x{i}", "numeric") for i in range(numbers.shape[1])))
    return as_inputs(numbers, signature)


def as_inputs(x: Any, signature: Signature) -> Inputs:
    """Convert rows to a known signature: uint8 images, or a table from a data frame or an array (n, columns).

    A data frame must have the columns of `signature`; an array must have them in the same order. Raises `ValueError`
    for other rows.
    """
    x = as_array(x)
    if isinstance(signature, ImageSignature):
        if not is_image_array(x):
            fix = scaling(x) if isinstance(x, np.ndarray) else ""
            raise ValueError(f"{signature} are required: uint8 (n, H, W) or (n, H, W, C); this is {_described(x)}{fix}")
        if x.shape == signature.shape or (x.ndim == 2 and (*x.shape, 1) == signature.shape):
            raise ValueError(f"this is one image of shape {x.shape}; pass a batch: image[None]")
        images = as_images(x)
        if images.shape != signature.shape:
            raise ValueError(
                f"the images have the shape {images.shape} (H, W, C), but the ensemble takes {signature.shape}"
            )
        return images
    if isinstance(x, pd.DataFrame):
        return Table.of(_named(x), signature)
    values = np.asarray(x)
    if values.ndim != 2 or values.shape[1] != signature.size:
        raise ValueError(f"{signature} of shape (n, {signature.size}) are required; this is {_described(x)}")
    return Table.of(pd.DataFrame(values, columns=signature.names()), signature)


def as_array(x: Any) -> Any:
    """Convert tensors and sequences (of rows, or of PIL images) to an array; return data frames and sparse matrices
    unchanged.

    Raises `ValueError` for sequences of items with different shapes.
    """
    from scipy.sparse import issparse  # job files are checked without it

    if isinstance(x, np.ndarray | pd.DataFrame | pd.Series) or issparse(x):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            "the rows of X differ in shape; all images must have the same size, all rows of a table the same length"
        ) from None
    except RuntimeError as error:  # a PyTorch tensor that requires a gradient
        raise ValueError(f"X cannot be read as an array: {error}") from None


def is_image_array(x: Any) -> bool:
    """Return whether `x` is uint8 (n, H, W) or (n, H, W, C)."""
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim in (3, 4)


def as_images(pixels: np.ndarray) -> ArrayImages:
    """Convert uint8 (n, H, W) or (n, H, W, C); raises `ValueError` if it is empty, or C is before H and W."""
    if 0 in pixels.shape:
        raise ValueError(f"images of shape {pixels.shape} are empty")
    if pixels.ndim == 4 and _channels_first(pixels.shape):
        raise ValueError(
            f"images of shape {pixels.shape} look like (n, C, H, W); (n, H, W, C) is required: "
            "images.transpose(0, 2, 3, 1)"
        )
    return ArrayImages(pixels[..., None] if pixels.ndim == 3 else pixels)


def scaling(pixels: np.ndarray) -> str:
    """Return advice on how to convert an array with the shape of images to uint8; empty for other arrays."""
    if pixels.ndim not in (3, 4) or pixels.dtype.kind not in "biuf" or not pixels.size:
        return ""
    if pixels.dtype == np.uint8:
        return ""
    low, high = np.nanmin(pixels), np.nanmax(pixels)
    if not (np.isfinite(low) and np.isfinite(high)):
        return "; its values are not finite"
    if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and low >= 0 and high <= 1):
        return "; to convert values from 0 to 1: (255 * images).round().astype('uint8')"
    if low >= 0 and high <= 255:
        return "; to convert values from 0 to 255: images.round().astype('uint8')"
    return f"; its values are from {low:g} to {high:g}: scale them to 0..255 first, then images.round().astype('uint8')"


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether the shape is probably (n, C, H, W), such as (n, 3, H, W): an image 3 pixels high with W channels
    is unlikely."""
    _, first, second, last = shape
    if first == 3 and last > 4:
        return True
    return first in (1, 4) and (last >= _NO_CHANNELS or second == last > 4)


def _refusal(x: np.ndarray) -> str:
    return (
        "X must be a table of shape (n, columns), or uint8 images of shape (n, H, W) or (n, H, W, C); "
        f"this is {_described(x)}{scaling(x)}"
    )


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its column names converted to text."""
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"column names must be unique; these occur more than once: {', '.join(twice)}")
    return frame.set_axis(names, axis=1)


def _described(x: Any) -> str:
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    return f"{type(x).__name__}" + (f" of shape {shape}" if shape is not None else "") + (f", {dtype}" if dtype else "")
