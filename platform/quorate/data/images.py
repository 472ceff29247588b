"""Decode a picture file to the pixels that a model takes, in the same way in training, offline and in serving."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quorate.errors import UserError


@dataclass(frozen=True)
class DecodingRules:
    """Which files are decoded: Pillow's names of their formats, and the maximum size in pixels."""

    formats: tuple[str, ...]
    max_pixels: int
    names: str
    """The formats, for messages."""


SERVED = DecodingRules(("JPEG", "PNG"), 16_000_000, "JPEG or PNG")
"""Rules for pictures in requests. Anyone can send a request, and a small file can decode to hundreds of megabytes. The
maximum of 16 million pixels is an assumption, not a measurement."""

OWN = DecodingRules(
    ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000"),
    178_956_970,
    "JPEG, PNG, WebP, BMP, TIFF, GIF, PNM, AVIF or JPEG 2000",
)
"""Rules for the user's own files. The maximum size is that of Pillow (twice `Image.MAX_IMAGE_PIXELS`)."""

_LARGE = threading.BoundedSemaphore(4)
"""At most four pictures above the size limit of `SERVED` are decoded at the same time, because each can use a gigabyte.
The number is an assumption, not a measurement."""

_REDUCED = ("JPEG", "MPO")
"""Formats that can be decoded at a reduced size (libjpeg's scaled inverse transform)."""

ORIENTATION = 0x0112
"""The EXIF tag for the orientation of the camera (EXIF 2.32, tag 274)."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each orientation (EXIF 2.32, tag 274). Pillow rotates TIFF files itself."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""Errors that Pillow's decoders raise for damaged files; `RuntimeError` is that of AVIF."""

_OTHERS: tuple[tuple[str, str], ...] = (
    (r"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "a HEIC picture"),
    (r"%PDF", "a PDF document"),
    (r"8BPS", "a Photoshop document"),
    (r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "an SVG drawing"),
    (r"\s*<(!DOCTYPE html|html)", "a web page"),
    (r"version https://git-lfs", "a Git LFS pointer without its content; run git lfs pull"),
    (r"PK\x03\x04", "a ZIP archive"),
)
"""First bytes of files that users often give instead of pictures, and what they are."""


class ImageError(UserError):
    """Bytes that are not a usable picture; the message says why."""


def decode_image(
    data: bytes, *, shape: tuple[int, int, int], resize: int | None = None, accepted: DecodingRules = SERVED
) -> NDArray[np.uint8]:
    """Decode a picture file to pixels of `shape` (H, W, C); the format is detected from the content.

    The picture is rotated according to its EXIF orientation and converted to grey (C = 1) or RGB (C = 3).
    Transparent parts become white, and 16-bit grey is scaled to 8 bits. A picture of another size is scaled
    (bicubic, antialiased) until it covers (H, W), or until its shorter side has `resize` pixels if that is
    longer, and the centre is cropped. Only the first frame or page is used.

    Raises `ImageError`.
    """
    height, width, channels = shape
    image = _open(data, accepted)
    large = image.width * image.height > SERVED.max_pixels
    with _LARGE if large else nullcontext():
        if large:
            _reduce(image, max(height, width, resize or 0))
        _load(image)
        image = _flatten(_upright(image), "L" if channels == 1 else "RGB")
        if image.size != (width, height) or resize is not None:
            image = _fit(image, height, width, resize)
    return np.asarray(image, dtype=np.uint8).reshape(shape)


def read_image(path: Path, *, shape: tuple[int, int, int], resize: int | None = None) -> NDArray[np.uint8]:
    """Decode one of the user's files with `decode_image`; raises `ImageError`, or `OSError` if it cannot be read."""
    return decode_image(path.read_bytes(), shape=shape, resize=resize, accepted=OWN)


def size_of(data: bytes) -> tuple[int, int]:
    """Return the width and height in the header of a picture, before rotation; raises `ImageError`."""
    return _open(data, OWN).size


def _open(data: bytes, accepted: DecodingRules) -> Image.Image:
    """Open a picture and check the size in its header, before any pixel is decoded."""
    if not data:
        raise ImageError("the file is empty")
    try:
        image = Image.open(BytesIO(data), formats=accepted.formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_large(f"{int(found[1]):,} pixels" if found else "too many pixels", accepted) from None
    except DAMAGE:
        raise ImageError(f"not a {accepted.names} picture{_instead(data)}") from None
    width, height = image.size
    if width * height > accepted.max_pixels:
        raise _too_large(f"{width} × {height} pixels", accepted)
    return image


def _too_large(size: str, accepted: DecodingRules) -> ImageError:
    fix = "" if accepted is SERVED else "; save a smaller copy, of the training size or slightly larger"
    return ImageError(f"the picture has {size}, more than {accepted.max_pixels:,}{fix}")


def _instead(data: bytes) -> str:
    start = data[:512].decode("latin-1")
    for pattern, what in _OTHERS:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return f" but {what}"
    return ""


def _reduce(image: Image.Image, side: int) -> None:
    """Decode a large photograph at a reduced size, with at least twice the pixels that `side` requires."""
    if image.format in _REDUCED:
        needed = 2 * side / min(image.size)
        image.draft(None, (int(np.ceil(image.width * needed)), int(np.ceil(image.height * needed))))


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except DAMAGE as error:
        raise ImageError(f"the picture is damaged or incomplete ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except DAMAGE:
        orientation = 1  # damaged EXIF data, but the pixels can be valid
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Return the picture in 8-bit grey ("L") or "RGB", without transparency."""
    if image.mode.startswith(("I", "F")):
        image = _of_sixteen_bits(image)
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    return image if image.mode == mode else image.convert(mode)


def _of_sixteen_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255, which Pillow would clip. Raises `ImageError` for numbers in another range."""
    deep = np.asarray(image)
    if image.mode == "F":
        raise ImageError("its pixels are floating-point numbers, whose scale is unknown; save it with 8 or 16 bits")
    if deep.min() < 0 or deep.max() > 65535:
        raise ImageError(
            f"its pixels are numbers from {deep.min()} to {deep.max()}, outside 0..65535; save it with 8 or 16 bits"
        )
    return Image.fromarray(((deep.astype(np.int32) + 128) // 257).astype(np.uint8))


def _fit(image: Image.Image, height: int, width: int, resize: int | None) -> Image.Image:
    """Crop the centre of the picture and scale it in one step.

    Only the source region is scaled: a very long and narrow picture would become huge if it were scaled before the
    crop.
    """
    scale = max(height / image.height, width / image.width)
    if resize is not None:
        scale = max(scale, resize / min(image.size))
    box_width, box_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
