"""Data sets of torchvision, from files in their own formats that the tests write."""

from __future__ import annotations

import bz2
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from quorate.data.source import DataError
from quorate.data.sources.torchvision import TorchvisionData, TorchvisionParams
from quorate.spec import load_job
from quorate.spec.file import SpecError

RNG = np.random.default_rng(0)


def opened(name: str, root: Path, *, download: bool = False):
    return TorchvisionData.open(TorchvisionParams(kind=f"torchvision/{name}", root=str(root), download=download))


def write_idx(path: Path, array: np.ndarray) -> None:
    """LeCun's idx format: two zeros, the type (8 is uint8), the number of dimensions, each as big-endian int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """FashionMNIST's four files with twelve training and four test rows."""
    parts = {}
    for part, stem, rows in (("train", "train", 12), ("test", "t10k", 4)):
        pixels, labels = RNG.integers(0, 256, (rows, 28, 28)).astype(np.uint8), np.arange(rows) % 3
        write_idx(tmp_path / f"FashionMNIST/raw/{stem}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"FashionMNIST/raw/{stem}-labels-idx1-ubyte", labels)
        parts[part] = (pixels, labels)
    return parts


@pytest.mark.parametrize("download", [False, True])
def test_both_parts_are_read_from_existing_files(mnist, tmp_path, download):
    found = opened("FashionMNIST", tmp_path, download=download)

    for data, (pixels, labels) in zip((found.train, found.test), mnist.values(), strict=True):
        np.testing.assert_array_equal(data.x.take(np.arange(len(data)))[..., 0], pixels)
        np.testing.assert_array_equal(data.y, labels)
    assert found.train.x.shape == (28, 28, 1)
    assert found.train.class_names == ("T-shirt/top", "Trouser", "Pullover"), "those that occur"


def test_the_channels_are_the_last_axis(tmp_path, monkeypatch):
    # given: SVHN's MATLAB files (H, W, C, N) with labels 1..10, and their checksums
    from torchvision.datasets import SVHN

    sums = {}
    parts = {}
    for part in ("train", "test"):
        pixels, labels = RNG.integers(0, 256, (32, 32, 3, 5)).astype(np.uint8), np.array([[10], [1], [2], [10], [1]])
        path = tmp_path / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": labels})
        sums[part] = ["nowhere", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        parts[part] = pixels
    monkeypatch.setattr(SVHN, "split_list", sums)

    # when
    found = opened("SVHN", tmp_path)

    # then: label 10 is the digit 0
    np.testing.assert_array_equal(found.test.x.take(np.arange(5)), np.transpose(parts["test"], (3, 0, 1, 2)))
    np.testing.assert_array_equal(found.train.y, [0, 1, 2, 0, 1])
    assert found.train.class_names == ("0", "1", "2")


def test_the_labels_name_the_classes_of_a_dataset_without_class_names(tmp_path):
    for name, labels in (("usps.bz2", [3, 8, 3]), ("usps.t.bz2", [8, 3, 3])):  # libsvm's format, labels from 1
        lines = [f"{label} " + " ".join(f"{i + 1}:{(i % 3) - 1}" for i in range(256)) for label in labels]
        (tmp_path / name).write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))

    found = opened("USPS", tmp_path)

    assert found.train.class_names == ("2", "7")
    np.testing.assert_array_equal(found.train.y, [0, 1, 0])
    np.testing.assert_array_equal(found.test.y, [1, 0, 0])
    assert sorted(np.unique(found.train.x.take(np.arange(3)))) == [0, 127, 255]


def test_a_test_label_that_the_training_rows_lack_is_an_error(mnist, tmp_path):
    write_idx(tmp_path / "FashionMNIST/raw/t10k-labels-idx1-ubyte", np.array([0, 1, 2, 9]))

    with pytest.raises(DataError, match=r"the test labels \[9\] do not occur in the training rows"):
        opened("FashionMNIST", tmp_path)


def test_missing_files_are_an_error_that_says_how_to_download_them(tmp_path):
    with pytest.raises(DataError) as caught:
        opened("MNIST", tmp_path)

    assert str(caught.value).startswith(f"MNIST cannot be read from {tmp_path}: Dataset not found.")
    assert str(caught.value).endswith("set download: true, or set root to the folder of torchvision's data sets")
    assert caught.value.key == "root"


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    from torchvision.datasets import KMNIST

    monkeypatch.setattr(KMNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens

    with pytest.raises(DataError) as caught:
        opened("KMNIST", tmp_path, download=True)

    assert f"KMNIST is not in {tmp_path} and cannot be downloaded: " in str(caught.value)
    assert "check the network, or copy the folder from a machine where torchvision has downloaded it" in str(
        caught.value
    )
    assert caught.value.key == "kind"


def test_the_root_lies_below_the_job_files_folder_if_it_is_there(job_file, tmp_path, monkeypatch):
    path = job_file("data: {kind: torchvision/MNIST, root: sets}\nmembers: {l: {kind: logistic}}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert load_job(path).spec.data.root == str(tmp_path / "elsewhere" / "sets")
    (tmp_path / "sets").mkdir()
    assert load_job(path).spec.data.root == str(tmp_path / "sets")


def test_an_unknown_dataset_is_an_error_with_the_nearest_name(job_file):
    path = job_file("data: {kind: torchvision/FashonMNIST}\nmembers: {l: {kind: logistic}}\n")

    with pytest.raises(SpecError, match=r"unknown data set 'FashonMNIST'; did you mean 'FashionMNIST'\? \(choose from"):
        load_job(path)
