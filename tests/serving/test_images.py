"""Pictures to pixels: what is accepted, how it is fitted, what is refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from quorate.data.images import ImageError, decode_image, read_image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png_with_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing, written by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_grey_png_of_the_right_size_keeps_its_pixels() -> None:
    pixels = noise(8, 6)

    decoded = decode_image(encode(Image.fromarray(pixels)), shape=(8, 6, 1))

    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded[:, :, 0], pixels)


def test_a_colour_png_becomes_grey_by_luma() -> None:
    pixels = noise(8, 6, 3)

    decoded = decode_image(encode(Image.fromarray(pixels)), shape=(8, 6, 1))

    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(decoded[:, :, 0] - luma).max() <= 1


def test_a_grey_picture_becomes_three_equal_channels() -> None:
    pixels = noise(8, 6)

    decoded = decode_image(encode(Image.fromarray(pixels)), shape=(8, 6, 3))

    np.testing.assert_array_equal(decoded, np.repeat(pixels[:, :, None], 3, axis=2))


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = np.array([[0, 256, 257], [32768, 65278, 65535]], dtype=np.uint16)

    decoded = decode_image(encode(Image.fromarray(deep)), shape=(2, 3, 1))

    np.testing.assert_array_equal(decoded[:, :, 0], np.rint(deep / 257))


def test_transparent_pixels_are_laid_on_white() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 100, 50, 255)
    pixels[0, 1] = (200, 100, 50, 0)
    pixels[1, 0] = (0, 0, 0, 51)  # a fifth black, so four fifths of white: 204

    decoded = decode_image(encode(Image.fromarray(pixels)), shape=(2, 2, 3))

    assert decoded[0].tolist() == [[200, 100, 50], [255, 255, 255]]
    assert np.abs(decoded[1, 0].astype(int) - 204).max() <= 1


def test_a_palette_picture_is_decoded_to_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)

    decoded = decode_image(encode(image), shape=(1, 2, 3))

    assert decoded.tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_as_its_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.kron(noise(2, 3), np.ones((8, 8), np.uint8)))
    data = encode(image, "JPEG", exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))

    decoded = decode_image(data, shape=(*upright.shape, 1))

    np.testing.assert_array_equal(decoded[:, :, 0], upright)


def test_a_picture_with_the_same_aspect_ratio_is_scaled_as_by_pillow() -> None:
    image = Image.fromarray(noise(64, 48, 3))

    decoded = decode_image(encode(image), shape=(16, 12, 3))

    np.testing.assert_array_equal(decoded, np.asarray(image.resize((12, 16), Image.Resampling.BICUBIC)))


def test_a_wide_picture_loses_its_sides() -> None:
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = noise(4, 4)

    decoded = decode_image(encode(Image.fromarray(wide)), shape=(4, 4, 1))

    np.testing.assert_array_equal(decoded[:, :, 0], wide[:, 4:8])


def test_resize_scales_the_shorter_side_and_keeps_the_centre() -> None:
    image = Image.fromarray(np.kron(noise(8, 12), np.ones((8, 8), np.uint8)))  # 96 × 64
    reference = image.resize((48, 32), Image.Resampling.BICUBIC).crop((12, 4, 36, 28))

    decoded = decode_image(encode(image), shape=(24, 24, 1), resize=32)[:, :, 0]

    inner = (slice(2, -2), slice(2, -2))  # at its border the filter sees nothing beyond the region
    np.testing.assert_allclose(decoded[inner].astype(int), np.asarray(reference)[inner], atol=1)


def test_a_picture_smaller_than_the_model_is_enlarged() -> None:
    decoded = decode_image(encode(Image.new("L", (2, 3), 77)), shape=(8, 8, 1), resize=4)

    assert (decoded == 77).all()


def test_a_picture_one_pixel_high_is_fitted_without_a_huge_copy() -> None:
    decoded = decode_image(encode(Image.new("L", (2_000_000, 1), 9)), shape=(224, 224, 1))

    assert (decoded == 9).all()


@pytest.mark.parametrize(("width", "height"), [(4001, 4000), (20_000, 20_000), (1_000_000, 1_000_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=r"more than 16,000,000"):
        decode_image(png_with_header(width, height), shape=(8, 8, 1))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(ImageError, match="not a JPEG or PNG picture"):
        decode_image(encode(Image.new("L", (8, 8)), kind), shape=(8, 8, 1))


@pytest.mark.parametrize("data", [b"\0" * 100, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>"])
def test_bytes_that_are_not_a_picture_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="not a JPEG or PNG picture"):
        decode_image(data, shape=(8, 8, 1))


def test_an_empty_file_is_reported_as_empty() -> None:
    with pytest.raises(ImageError, match="the file is empty"):
        decode_image(b"", shape=(8, 8, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encode(Image.fromarray(noise(64, 64)), kind)

    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data[: len(data) // 2], shape=(8, 8, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_file_gives_pixels_or_an_image_error(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(noise(16, 12, 3)), kind, exif=exif)
    rng = np.random.default_rng(0)
    refused = 0

    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(damaged), shape=(8, 8, 3)).shape == (8, 8, 3)
        except ImageError:
            refused += 1

    assert refused > 0


def test_a_file_is_read_like_its_bytes(tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 6))
    image.save(tmp_path / "picture.png")

    np.testing.assert_array_equal(read_image(tmp_path / "picture.png", shape=(8, 6, 1))[:, :, 0], image)
