"""Pictures of the user's own: every format that is read gives the pixels that it holds."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quorate.data.images import OWN, ImageError, decode_image, read_image

PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (4, 3, 3)), np.ones((2, 2, 1))).astype(np.uint8)  # 8 x 6
TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(PIXELS, 1),
}
"""What each EXIF orientation means, by NumPy alone."""


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, *shape: int) -> np.ndarray:
    return decode_image(data, shape=(shape[0], shape[1], shape[2]), accepted=OWN)


LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
    ("JPEG2000", {}),
]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS, ids=str)
def test_a_lossless_picture_keeps_its_pixels(kind: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(PIXELS), kind, **options), 8, 6, 3), PIXELS)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 98, "subsampling": 0}), ("AVIF", {"quality": 98, "subsampling": "4:4:4"})],
)
def test_a_lossy_picture_keeps_them_nearly(kind: str, options: dict[str, Any]) -> None:
    found = decoded(encode(Image.fromarray(PIXELS), kind, **options), 8, 6, 3)

    assert np.abs(found.astype(int) - PIXELS).max() <= 12


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})], ids=str)
def test_a_picture_of_any_format_is_turned_upright_once(kind: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = TURNED[orientation]

    found = decoded(encode(Image.fromarray(PIXELS), kind, exif=exif, **options), *expected.shape)

    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    red, blue = Image.new("RGB", (6, 8), (255, 0, 0)), Image.new("RGB", (6, 8), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}

    found = decoded(encode(red, kind, save_all=True, append_images=[blue], **options), 8, 6, 3)

    assert (found == (255, 0, 0)).all()


def test_a_transparent_gif_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)

    found = decoded(encode(image, "GIF", transparency=1), 1, 2, 3)

    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_of_any_format_is_laid_on_white(kind: str) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}

    found = decoded(encode(Image.fromarray(pixels), kind, **options), 1, 2, 3)

    assert found.tolist() == [[[200, 100, 50], [255, 255, 255]]]


def test_grey_with_transparency_is_laid_on_white() -> None:
    pixels = np.array([[[40, 255], [40, 0]]], np.uint8)

    assert decoded(encode(Image.fromarray(pixels, "LA"), "PNG"), 1, 2, 1).ravel().tolist() == [40, 255]


def test_a_cmyk_picture_is_converted_to_colours() -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)  # none, cyan, black

    found = decoded(encode(Image.fromarray(inks, "CMYK"), "TIFF"), 1, 3, 3)

    assert found.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


DEEP = np.array([[0, 256, 257], [32768, 65278, 65535]], np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        *(encode(Image.fromarray(DEEP), kind) for kind in ("PNG", "TIFF", "PPM")),
        encode(Image.frombytes("I;16B", (3, 2), DEEP.astype(">u2").tobytes()), "TIFF"),
    ],
    ids=["PNG", "TIFF", "PGM", "TIFF, big-endian"],
)
def test_sixteen_bits_are_scaled_to_eight(data: bytes) -> None:
    np.testing.assert_array_equal(decoded(data, 2, 3, 1)[..., 0], np.rint(DEEP / 257))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), "its pixels are floating-point numbers"),
        (np.array([[-1000, 0, 3000]], np.int32), "its pixels are numbers from -1000 to 3000, outside 0..65535"),
    ],
    ids=["float", "signed"],
)
def test_pixels_of_an_unknown_scale_are_refused(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=re.escape(said) + ".*save it with 8 or 16 bits"):
        decoded(encode(Image.fromarray(pixels), "TIFF"), 1, 3, 1)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\0\0\0\x18ftypheic", "but a HEIC picture"),
        (b"%PDF-1.7", "but a PDF document"),
        (b'<?xml version="1.0"?>\n<svg xmlns=', "but an SVG drawing"),
        (b"<!DOCTYPE html><html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1", r"but a Git LFS pointer without its content; run git lfs pull"),
    ],
)
def test_a_file_that_is_not_a_picture_is_named(start: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=f"^not a JPEG, PNG, WebP, .* picture {what}$"):
        decoded(start + b" " * 100, 8, 6, 3)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000"])
def test_a_damaged_file_gives_pixels_or_an_image_error(kind: str) -> None:
    data = encode(Image.fromarray(PIXELS), kind)
    rng = np.random.default_rng(0)
    refused = 0

    for _ in range(100):
        damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
        for place in rng.integers(0, min(len(damaged), 200), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            assert decoded(bytes(damaged), 8, 6, 3).shape == (8, 6, 3)
        except ImageError:
            refused += 1

    assert refused > 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_of_24_megapixels_is_scaled_as_by_pillow(kind: str, tmp_path: Path) -> None:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    photo = small.resize((6000, 4000), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo", kind)
    centre = (1000, 0, 5000, 4000)
    expected = np.asarray(photo.resize((64, 64), Image.Resampling.BICUBIC, box=centre)).astype(int)

    found = read_image(tmp_path / "photo", shape=(64, 64, 3))

    assert np.abs(found - expected).max() <= 4
    with pytest.raises(ImageError, match=r"6000 × 4000 pixels, more than 16,000,000$"):
        decode_image((tmp_path / "photo").read_bytes(), shape=(64, 64, 3))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_above_the_size_limit_is_refused_with_its_size_and_the_fix() -> None:
    header = encode(Image.new("1", (8, 8)), "PPM").replace(b"8 8", b"20000 20000")

    with pytest.raises(ImageError, match="the picture has 400,000,000 pixels, more than 178,956,970; save a smaller"):
        decoded(header, 8, 8, 3)
