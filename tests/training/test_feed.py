"""Batches: standardized as in NumPy, mirrored and shifted row by row, the same for the same generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import tiny_data
from torch.nn import functional

from quorate.data.dataset import ArrayImages
from quorate.data.standardize import Standardizer, fit_standardizer
from quorate.training.augment import Augment
from quorate.training.context import Numerics
from quorate.training.feed import PixelFeed, labels_of, split_batches, training_order

DATA = tiny_data(rows=50, shape=(8, 6, 3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def marked(n: int, height: int = 9, width: int = 11) -> torch.Tensor:
    """Images whose pixels hold their own place: row in the first channel, column in the second."""
    image = torch.zeros(height, width, 2, dtype=torch.uint8)
    image[..., 0] = torch.arange(height)[:, None]
    image[..., 1] = torch.arange(width)[None, :]
    return image.repeat(n, 1, 1, 1)


def feed(scheme: str = "channel", *, size: int | None = None, **numerics) -> PixelFeed:
    return PixelFeed(DATA.x, standardize=fit_standardizer(DATA.x, scheme), numerics=Numerics(**numerics), size=size)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("scheme", ["channel", "feature", "sample", "none"])
def test_a_batch_is_standardized_as_in_numpy(scheme, layout):
    rows = np.array([3, 0, 49])

    batch = feed(scheme, memory_format=layout).batch(torch.from_numpy(rows))

    expected = fit_standardizer(DATA.x, scheme)(DATA.x.take(rows)).transpose(0, 3, 1, 2)
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch.numpy(), expected, rtol=1e-6, atol=1e-6)
    last = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert batch.is_contiguous(memory_format=last)


def test_batches_give_all_rows_in_their_order():
    parts = list(feed().batches(20))

    assert [len(part) for part in parts] == [20, 20, 10]
    assert torch.equal(torch.cat(parts), feed().batch(torch.arange(50)))


def test_images_are_resized_after_they_are_standardized():
    batch = feed(size=16).batch(torch.arange(3))

    expected = functional.interpolate(feed().batch(torch.arange(3)), size=(16, 16), mode="bilinear")
    assert torch.equal(batch, expected)


@pytest.mark.parametrize("copied", [False, True])
def test_only_images_that_are_costly_to_read_are_copied_to_the_memory_of_a_cpu(copied):
    # given
    read: list[int] = []

    class Counting(ArrayImages):
        def take(self, rows):
            read.append(len(rows))
            return super().take(rows)

        @property
        def copied(self) -> bool:
            return copied

    images = Counting(DATA.x.take(np.arange(50)))

    # when
    reader = PixelFeed(images, standardize=Standardizer("none"), numerics=Numerics(), size=None)
    batches = [reader.batch(torch.tensor([5, 2])), reader.batch(torch.tensor([7]))]

    # then
    assert read == ([50] if copied else [2, 1])
    assert torch.equal(torch.cat(batches), torch.from_numpy(DATA.x.take(np.array([5, 2, 7]))).permute(0, 3, 1, 2) / 255)


def test_without_augmentation_the_same_tensor_comes_back_and_nothing_is_drawn():
    pixels, source = marked(3), generator()
    before = source.get_state()

    assert Augment()(pixels, source) is pixels
    assert torch.equal(source.get_state(), before)


def test_about_every_second_image_is_mirrored_whole():
    pixels = marked(2000)

    mirrored = Augment(mirror=True)(pixels, generator())

    flipped = (mirrored == pixels.flip(2)).flatten(1).all(dim=1)
    assert torch.equal(mirrored[~flipped], pixels[~flipped])
    # 2,000 throws of a coin: four standard deviations are 89
    assert abs(int(flipped.sum()) - 1000) < 90


def test_each_image_is_shifted_on_its_own_by_at_most_so_many_pixels_and_its_edge_repeats():
    # given
    pixels = marked(500)

    # when
    shifted = Augment(crop=2)(pixels, generator())

    # then: the pixel in the middle tells the shift, the others follow it
    shifts = shifted[:, 4, 5].long() - torch.tensor([4, 5])
    assert shifts.abs().max() == 2
    assert len({tuple(shift) for shift in shifts.tolist()}) == 25, "every shift of both directions"
    for image, (down, right) in zip(shifted[:40], shifts[:40].tolist(), strict=True):
        np.testing.assert_array_equal(image[:, 0, 0], np.clip(np.arange(9) + down, 0, 8))
        np.testing.assert_array_equal(image[0, :, 1], np.clip(np.arange(11) + right, 0, 10))


def test_the_generator_decides_the_augmentation():
    both, pixels = Augment(mirror=True, crop=3), marked(40)

    first, again, other = (both(pixels, generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == pixels.shape


def test_a_shift_beyond_the_image_repeats_its_edge():
    shifted = Augment(crop=200)(marked(50), generator())

    assert shifted[..., 0].max() <= 8 and shifted[..., 1].max() <= 10


def test_augmentation_is_drawn_from_the_generator_batch_by_batch():
    source = generator(5)
    rows = torch.arange(10)

    first, second = (feed().batch(rows, Augment(crop=2), source) for _ in range(2))

    assert not torch.equal(first, second)
    assert torch.equal(feed().batch(rows, Augment(crop=2), generator(5)), first)
    assert torch.equal(feed().batch(rows, Augment(crop=2), None), feed().batch(rows)), "none without a generator"


def test_the_order_of_an_epoch_comes_from_seed_and_epoch_alone():
    torch.manual_seed(1)
    first = training_order(torch.zeros(100), seed=2**61, epoch=3)
    torch.manual_seed(2)

    assert torch.equal(training_order(torch.zeros(100), seed=2**61, epoch=3), first)
    assert torch.equal(first.sort().values, torch.arange(100))
    assert not torch.equal(training_order(torch.zeros(100), seed=2**61, epoch=4), first)
    assert not torch.equal(training_order(torch.zeros(100), seed=2**61 + 1, epoch=3), first)


@pytest.mark.parametrize(
    ("rows", "size", "lengths"),
    [(64, 32, [32, 32]), (66, 32, [32, 32, 2]), (65, 32, [32, 33]), (1, 32, [1]), (33, 32, [33])],
)
def test_no_batch_has_a_single_row(rows, size, lengths):
    batches = split_batches(torch.arange(rows), size)

    assert [len(batch) for batch in batches] == lengths
    assert torch.equal(torch.cat(batches), torch.arange(rows))


def test_labels_are_a_writable_copy():
    y = labels_of(DATA, Numerics())
    y[0] = 2

    assert y.dtype == torch.int64
    assert DATA.y[0] == 0
