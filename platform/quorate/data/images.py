"""One JPEG or PNG file to the pixels that a model takes: the same in training, offline and when served."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quorate.errors import UserError

MAX_PIXELS = 16_000_000
"""Largest picture that is decoded, in pixels; a small file can unpack to hundreds of megabytes."""

FORMATS = ("JPEG", "PNG")

ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation (EXIF 2.32, tag 274)."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files."""


class ImageError(UserError):
    """Bytes that are no usable picture; the message says why."""


def decode_image(data: bytes, *, shape: tuple[int, int, int], resize: int | None = None) -> NDArray[np.uint8]:
    """Pixels of a JPEG or PNG file, fitted to `shape` (H, W, C).

    The picture is turned upright as its EXIF says and made grey (C = 1) or RGB (C = 3);
    transparency is laid on white, 16-bit grey is scaled to 8 bits. A picture of another size is
    scaled (bicubic, antialiased) until it covers (H, W), or until its shorter side has `resize`
    pixels if that is longer, and the centre is kept.

    Raises `ImageError`.
    """
    height, width, channels = shape
    image = _flatten(_upright(_open(data)), "L" if channels == 1 else "RGB")
    if image.size != (width, height) or resize is not None:
        image = _fit(image, height, width, resize)
    return np.asarray(image, dtype=np.uint8).reshape(shape)


def read_image(path: Path, *, shape: tuple[int, int, int], resize: int | None = None) -> NDArray[np.uint8]:
    """`decode_image` of a file; raises `ImageError`, or `OSError` where the file cannot be read."""
    return decode_image(path.read_bytes(), shape=shape, resize=resize)


def _open(data: bytes) -> Image.Image:
    """The decoded picture, its size checked in the header before any pixel is unpacked."""
    if not data:
        raise ImageError("the file is empty")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the picture has more than {MAX_PIXELS:,} pixels") from None
    except DAMAGE:
        raise ImageError("not a JPEG or PNG picture") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"the picture has {width} × {height} pixels, more than {MAX_PIXELS:,}")
    try:
        image.load()
    except DAMAGE as error:
        raise ImageError(f"the picture is damaged or cut short ({error})") from None
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except DAMAGE:
        orientation = 1  # a damaged note beside sound pixels
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """8-bit grey ("L") or "RGB", without transparency."""
    if image.mode.startswith(("I", "F")):
        # Pillow would clip 16 bits to 255 rather than scale them
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, height: int, width: int, resize: int | None) -> Image.Image:
    """Centre of the picture, cropped and scaled in one step.

    The source region is scaled rather than the picture scaled and cropped: a very long and
    narrow picture would be huge in between.
    """
    scale = max(height / image.height, width / image.width)
    if resize is not None:
        scale = max(scale, resize / min(image.size))
    box_width, box_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
