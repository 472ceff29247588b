"""Pictures that are decoded on each access: the next batch is read while a network uses the current one."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quorate.data.dataset import ArrayImages, FileImages, JoinedImages, Rows
from quorate.data.standardize import Standardizer
from quorate.training.context import Numerics
from quorate.training.feed import PixelFeed

BATCHES = [np.array([3, 0]), np.array([1, 2]), np.array([0, 1])]


class SlowImages(FileImages):
    """Notes each read and its thread; `begun` is set for the number of each."""

    reads: list[tuple[list[int], str]]
    begun: list[threading.Event]

    def take(self, rows: Rows):
        self.reads.append((rows.tolist(), threading.current_thread().name))
        pixels = super().take(rows)
        self.begun[len(self.reads) - 1].set()
        return pixels


@pytest.fixture
def images(tmp_path: Path) -> SlowImages:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(path)
    found = SlowImages(paths, (8, 8, 3), None, "content")
    object.__setattr__(found, "reads", [])
    object.__setattr__(found, "begun", [threading.Event() for _ in range(9)])
    return found


def feed(images) -> PixelFeed:
    return PixelFeed(images, standardize=Standardizer("none"), numerics=Numerics(), size=None)


def pixels(images: SlowImages, rows: Rows) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(Image.open(images.paths[row])) for row in rows])).permute(0, 3, 1, 2)


def test_the_next_batch_is_read_while_the_current_one_is_used_and_no_other(images):
    reader = feed(images.subset(np.arange(4)))

    reader.expect(map(torch.from_numpy, BATCHES))

    assert images.begun[0].wait(10), "the first batch is read before it is asked for"
    found = [reader.batch(torch.from_numpy(BATCHES[0]))]
    assert images.begun[1].wait(10), "the second one is read although only the first one was asked for"
    assert not images.begun[2].wait(0.05), "at most one batch waits"
    found += [reader.batch(torch.from_numpy(rows)) for rows in BATCHES[1:]]
    for batch, rows in zip(found, BATCHES, strict=True):
        assert torch.equal(batch, pixels(images, rows).to(torch.float32) / 255)
    assert [rows for rows, _ in images.reads] == [rows.tolist() for rows in BATCHES], "each is read once"
    assert threading.current_thread().name not in {thread for _, thread in images.reads}


def test_rows_that_were_not_expected_are_read_at_once_and_the_others_stay_expected(images):
    reader = feed(JoinedImages([images]))
    reader.expect(map(torch.from_numpy, BATCHES[:2]))
    assert images.begun[0].wait(10)

    other = reader.batch(torch.tensor([2]))
    found = [reader.batch(torch.from_numpy(rows)) for rows in BATCHES[:2]]

    assert torch.equal(other, pixels(images, np.array([2])).to(torch.float32) / 255)
    assert torch.equal(found[1], pixels(images, BATCHES[1]).to(torch.float32) / 255)
    assert [rows for rows, _ in images.reads] == [[3, 0], [2], [1, 2]]


def test_a_file_that_cannot_be_read_any_more_is_an_error_of_its_batch(images):
    reader = feed(images)
    Path(images.paths[1]).unlink()
    reader.expect(map(torch.from_numpy, BATCHES[:2]))

    reader.batch(torch.from_numpy(BATCHES[0]))

    with pytest.raises(FileNotFoundError):
        reader.batch(torch.from_numpy(BATCHES[1]))


def test_pictures_in_memory_are_not_read_ahead():
    kept = ArrayImages(np.zeros((4, 8, 8, 3), np.uint8))

    assert not kept.decodes
    assert not kept.subset(np.arange(2)).decodes
