"""Archives and class folders: what is read from them, and what is said about those that cannot be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.dataset import ArrayImages, Dataset, FileImages
from quorate.data.shards import ShardedImages
from quorate.data.signature import ImageSignature
from quorate.data.source import DataError, TestSplit
from quorate.data.sources.image_folder import ImageFolder, ImageFolderParams
from quorate.data.sources.npz import Npz, NpzParams
from quorate.members.logistic import Logistic, LogisticParams
from quorate.members.net import Net, NetParams

PIXELS = tiny_data(rows=12).x.take(np.arange(12))
LABELS = np.arange(12) % 3


def pixels_of(data: Dataset) -> np.ndarray:
    return data.x.take(np.arange(len(data)))


# Archives


@pytest.fixture
def archive(tmp_path):
    def save(name: str = "train.npz", **arrays) -> Path:
        np.savez(tmp_path / name, **({"images": PIXELS, "labels": LABELS} | arrays))
        return tmp_path / name

    return save


def opened(train: Path, **rest):
    return Npz.open(NpzParams(train=train, **rest))


def test_an_archive_gives_its_images_and_labels(archive):
    data = opened(archive()).train

    np.testing.assert_array_equal(pixels_of(data), PIXELS)
    np.testing.assert_array_equal(data.y, LABELS)
    assert data.class_names == ("0", "1", "2")


def test_arrays_with_other_names_and_without_a_channel_axis_are_read(archive):
    path = archive(x=PIXELS[..., 0], y=np.array(["a", "b", "c"] * 4))

    data = opened(path, images="x", labels="y").train

    np.testing.assert_array_equal(pixels_of(data), PIXELS)
    assert data.class_names == ("a", "b", "c")


def test_integer_labels_index_the_lines_of_the_classes_file(archive, tmp_path):
    (tmp_path / "names.txt").write_text("cat \n dog\nowl\nnewt\n")

    data = opened(archive(), classes=tmp_path / "names.txt").train

    np.testing.assert_array_equal(data.y, LABELS)
    assert data.class_names == ("cat", "dog", "owl", "newt")


def test_integer_labels_of_a_test_archive_mean_the_classes_of_the_training_one(archive):
    train = archive(labels=np.array([5, 7, 9] * 4))
    test = archive("test.npz", images=PIXELS[:2], labels=np.array([9, 5]))

    np.testing.assert_array_equal(opened(train, test=test).test.y, [2, 0])


def test_a_test_part_can_be_held_out_of_an_archive(archive):
    split = opened(archive(), test=TestSplit(fraction=0.25))

    assert (len(split.train), len(split.test)) == (9, 3)


@pytest.mark.parametrize(
    ("arrays", "key", "message"),
    [
        ({"images": PIXELS / 255}, "images", "images is float64; uint8 (0..255) is required: scale and convert it"),
        ({"images": PIXELS[:, :, 0, 0]}, "images", "images has shape (12, 8); (N, H, W) or (N, H, W, C) is required"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "images", "has shape (0, 8, 8, 1)"),
        ({"labels": LABELS[:5]}, "train", "12 images but labels of shape (5,); one label per row is required"),
        ({"labels": np.eye(12, dtype=int)}, "train", "labels of shape (12, 12)"),
        ({"labels": LABELS / 2}, "labels", "labels have the type float64; integers or text are required"),
        (
            {"labels": np.array([None] * 12)},
            None,
            "the array 'labels' contains Python objects, which are not loaded; save text as",
        ),
        (
            {"images": np.zeros((12, 3, 20, 20), np.uint8)},
            "images",
            "look like (n, C, H, W); (n, H, W, C) is required: images.transpose(0, 2, 3, 1)",
        ),
    ],
    ids=str,
)
def test_arrays_that_are_not_labelled_images_are_refused(arrays, key, message, archive):
    with pytest.raises(DataError) as caught:
        opened(archive(**arrays))

    assert message in str(caught.value) and "train.npz" in str(caught.value)
    assert caught.value.key == key


def test_a_missing_array_is_named_together_with_the_available_ones(archive):
    with pytest.raises(DataError, match=r"has no array 'x' \(it contains images, labels\)") as caught:
        opened(archive(), images="x")
    assert caught.value.key == "images"


def test_files_that_are_not_archives_are_refused(archive, tmp_path):
    np.save(tmp_path / "single.npy", PIXELS)
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("words")
    cut = archive("cut.npz")
    cut.write_bytes(cut.read_bytes()[:300])

    for name, message in (
        ("single.npy", "is a single array; save images and labels with numpy.savez"),
        ("empty.npz", "is empty; save images and labels with numpy.savez"),
        ("text.npz", "is not a complete .npz archive; save images and labels with numpy.savez"),
        ("cut.npz", "is not a complete .npz archive"),
    ):
        with pytest.raises(DataError, match=f"{name} {message}"):
            opened(tmp_path / name)


def test_test_rows_that_do_not_fit_the_training_rows_are_refused(archive, tmp_path):
    other_size = archive("size.npz", images=PIXELS[:, :4])
    other_label = archive("label.npz", labels=LABELS + 1)

    with pytest.raises(
        DataError, match=r"the test set has images of 4x8x1 \(HxWxC\), but the training set has images of 8x8x1"
    ):
        opened(archive(), test=other_size)
    with pytest.raises(
        DataError, match=r"label\.npz: row 3: the label '3' is not a class .*classes are 0, 1, 2"
    ) as caught:
        opened(archive(), test=other_label)
    assert caught.value.key == "test"


def test_a_label_beyond_the_classes_file_is_refused(archive, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")

    with pytest.raises(
        DataError, match=r"the label 2 is not a position in the list of 2 class names; it must be in 0\.\.1"
    ) as caught:
        opened(archive(), classes=tmp_path / "names.txt")
    assert caught.value.key == "classes"


# Class folders


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine pictures of three classes: PNG, JPEG, colour and grey."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog", "owl")):
        (root / name).mkdir(parents=True)
        for i, suffix in enumerate((".png", ".jpg", ".JPEG")):
            pixels = rng.integers(0, 80, (10, 12, 3)).astype(np.uint8)
            pixels[:, :, label] += 150
            picture = Image.fromarray(pixels)
            (picture.convert("L") if i == 2 else picture).save(root / name / f"{i}{suffix}")
    (root / "notes.txt").write_text("not a picture")
    (root / "cat" / "notes.txt").write_text("not a picture")
    return root


def pictures(train: Path, **rest):
    return ImageFolder.open(ImageFolderParams(train=train, **({"size": 8} | rest)))


def test_folders_are_classes_and_their_files_rows_in_order(folder):
    found = pictures(folder)

    assert found.train.class_names == ("cat", "dog", "owl")
    np.testing.assert_array_equal(found.train.y, np.repeat([0, 1, 2], 3))
    assert found.train.x.shape == (8, 8, 3)
    assert isinstance(found.train.x, ShardedImages)
    assert found.test is None
    assert found.notes == (f"{folder}: 2 files are not read: 2 .txt (notes.txt, notes.txt)",)


def test_pixels_are_the_scaled_centre_of_the_picture(folder):
    found = pixels_of(pictures(folder, resize=10).train)

    lossless = Image.open(folder / "cat" / "0.png")  # 12 x 10; the shorter side has 10 already
    np.testing.assert_array_equal(found[0], np.asarray(lossless)[1:9, 2:10])
    cut = np.asarray(lossless.crop((1, 0, 11, 10)).resize((8, 8), Image.Resampling.BICUBIC))
    scaled = pixels_of(pictures(folder).train)[0].astype(int)
    assert np.abs(scaled - cut)[:, 1:-1].max() <= 1, "at its borders the filter reaches beyond the cut"


def test_pictures_can_be_read_grey(folder):
    found = pixels_of(pictures(folder, channels=1, resize=10).train)

    assert found.shape == (9, 8, 8, 1)
    np.testing.assert_array_equal(
        found[0, ..., 0], np.asarray(Image.open(folder / "cat/0.png").convert("L"))[1:9, 2:10]
    )


def test_a_test_folder_is_read_in_the_classes_of_the_training_folder(folder, tmp_path):
    other = tmp_path / "other"
    (other / "owl").mkdir(parents=True)
    Image.open(folder / "owl" / "0.png").save(other / "owl" / "x.png")

    found = pictures(folder, test=other)

    np.testing.assert_array_equal(found.test.y, [2])
    (other / "newt").mkdir()
    Image.open(folder / "owl" / "0.png").save(other / "newt" / "x.png")
    with pytest.raises(DataError, match=r"the label 'newt' is not a class .*the classes are cat, dog, owl") as caught:
        pictures(folder, test=other)
    assert caught.value.key == "test"


def break_two(folder: Path) -> None:
    (folder / "cat" / "0.png").write_bytes(b"not a picture at all")
    whole = (folder / "dog" / "0.png").read_bytes()
    (folder / "dog" / "0.png").write_bytes(whole[: len(whole) // 2])


def test_all_files_that_cannot_be_decoded_are_named_with_the_fix(folder):
    break_two(folder)

    with pytest.raises(DataError) as caught:
        pictures(folder)

    message = str(caught.value)
    assert message.startswith("2 of 9 files cannot be decoded:\n")
    assert f"{folder}/cat/0.png: not a JPEG, PNG, WebP, BMP, TIFF, GIF, PNM, AVIF or JPEG 2000 picture" in message
    assert f"{folder}/dog/0.png: the picture is damaged or incomplete" in message
    assert message.endswith("replace or remove them, or set on_corrupt: skip")
    assert caught.value.key == "train"


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_files_that_cannot_be_decoded_can_be_skipped_and_are_counted(folder, in_memory):
    whole = pictures(folder).train
    break_two(folder)

    found = pictures(folder, on_corrupt="skip", in_memory=in_memory)

    kept = np.array([1, 2, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(pixels_of(found.train), whole.x.take(kept))
    np.testing.assert_array_equal(found.train.y, whole.y[kept])
    assert found.notes[0] == f"{folder}: 2 of 9 files cannot be decoded and were skipped: cat/0.png, dog/0.png"


def test_folders_without_any_picture_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="has no folders with pictures; it must contain one folder per class"):
        pictures(tmp_path)

    (tmp_path / "cat" / "0.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"none of the 1 files in .* can be decoded"):
        pictures(tmp_path, on_corrupt="skip")


def test_pictures_that_do_not_fit_into_the_cache_have_the_same_pixels(folder, monkeypatch, tmp_path):
    mapped, by_files = pictures(folder).train, pictures(folder, in_memory=0).train
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "1K")

    in_memory, lazy = pictures(folder), pictures(folder, in_memory=0)

    assert isinstance(in_memory.train.x, ArrayImages)
    assert isinstance(lazy.train.x, FileImages)
    np.testing.assert_array_equal(pixels_of(in_memory.train), pixels_of(mapped))
    np.testing.assert_array_equal(pixels_of(lazy.train), pixels_of(mapped))
    np.testing.assert_array_equal(lazy.train.take(np.array([8, 1])).x.take(np.array([0])), mapped.x.take(np.array([8])))
    assert in_memory.train.fingerprint == mapped.fingerprint, "the size of the cache moves no key"
    assert lazy.train.fingerprint == by_files.fingerprint != mapped.fingerprint
    reason = "the cache has no room for the decoded pictures (1.7 KiB); set QUORATE_CACHE_SIZE to more"
    assert in_memory.notes[0] == f"{folder}: the pictures are decoded again in each job: {reason}"
    assert lazy.notes[0] == f"{folder}: the pictures are decoded again for each batch: {reason}"


def test_training_on_pictures_that_are_decoded_for_each_batch_gives_the_same_bits(folder, monkeypatch, tmp_path):
    # given
    params = {"signature": ImageSignature((8, 8, 3)), "n_classes": 3}
    net = NetParams(arch="small_cnn", epochs=2, batch_size=4, augment={"mirror": True})
    mapped = pictures(folder).train
    pixels = ArrayImages(pixels_of(mapped))
    expected = Net(net, **params).fit(*[dataclasses.replace(mapped, x=pixels)] * 2, PlainRun())
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "1K")
    lazy = pictures(folder, in_memory=0).train

    # when, then
    for rows in (mapped, lazy):
        trained = Net(net, **params).fit(rows, rows, PlainRun())
        np.testing.assert_array_equal(trained.predict_proba(rows.x), expected.predict_proba(pixels))
    lines = [Logistic(LogisticParams(), **params).fit(rows, rows, PlainRun()) for rows in (mapped, lazy)]
    np.testing.assert_array_equal(lines[1].predict_proba(lazy.x), lines[0].predict_proba(mapped.x))


def test_the_fingerprint_of_files_is_that_of_their_content(folder):
    before = pictures(folder, in_memory=0).train.x.digest()

    assert pictures(folder, in_memory=0, resize=9).train.x.digest() != before
    Image.open(folder / "cat" / "1.jpg").save(folder / "cat" / "0.png")
    assert pictures(folder, in_memory=0).train.x.digest() != before


# Weights, groups and times, and images without a label


def test_an_archive_gives_weights_groups_and_times(archive):
    times = np.arange("2024-01-01", "2024-01-13", dtype="datetime64[D]")
    path = archive(w=LABELS + 1, g=np.array(["b", "a", "b"] * 4), t=times)

    grouped, timed = opened(path, weight="w", groups="g").train, opened(path, time="t").train

    np.testing.assert_array_equal(grouped.weight, LABELS + 1)
    np.testing.assert_array_equal(grouped.groups, [0, 1, 0] * 4)
    assert grouped.time is None and timed.groups is None
    np.testing.assert_array_equal(timed.time, times.astype("datetime64[s]").astype(float))
    assert grouped.fingerprint != timed.fingerprint, "weights are part of what is learned from"


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        (None, "weight", "has no array 'more' (it contains images, labels)"),
        (np.ones(5), "weight", "more has shape (5,); 12 values are required"),
        (np.linspace(-1, 1, 12), "weight", "row 1: more: the weight '-1.0' is negative"),
        (np.full(12, np.nan), "time", "row 1: more: a time is missing"),
        (np.array(["noon"] * 12), "time", "the time 'noon' is neither a number nor a date such as 2024-12-31"),
    ],
    ids=str,
)
def test_invalid_arrays_of_weights_groups_or_times_are_refused(values, key, message, archive):
    path = archive(**({} if values is None else {"more": values}))

    with pytest.raises(DataError) as caught:
        opened(path, **{key: "more"})

    assert message in str(caught.value)
    assert caught.value.key == key


def test_unlabelled_images_of_an_archive_are_kept_beside_the_others(archive, tmp_path):
    np.savez(tmp_path / "more.npz", images=PIXELS[:5])

    found = opened(archive(), unlabelled=tmp_path / "more.npz", test=TestSplit(fraction=0.25))

    np.testing.assert_array_equal(found.unlabelled.take(np.arange(5)), PIXELS[:5])
    assert found.notes == ("5 unlabelled images, for members with the key pretrain",)


def test_unlabelled_images_of_another_shape_are_refused(archive, tmp_path):
    np.savez(tmp_path / "more.npz", images=PIXELS[:, :4])
    np.savez(tmp_path / "none.npz", x=PIXELS)

    for name, message in (
        ("more.npz", r"more\.npz has images of 4x8x1 \(HxWxC\), but the training set has images of 8x8x1"),
        ("none.npz", r"none\.npz has no array 'images' \(it contains x\)"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            opened(archive(), unlabelled=tmp_path / name)
        assert caught.value.key == "unlabelled"


def test_groups_of_pictures_come_from_their_paths(folder):
    found = pictures(folder, groups=r"/(\d)\.")

    np.testing.assert_array_equal(found.train.groups, [0, 1, 2] * 3)


def test_a_test_part_of_grouped_pictures_is_a_whole_group(folder):
    found = pictures(folder, groups=r"/(\d)\.", test=TestSplit(fraction=0.3))

    assert len(set(found.test.groups)) == 1
    np.testing.assert_array_equal(found.test.y, [0, 1, 2])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"\d", r"'\\\\d' has no capturing group; put the part of the path that names the group in \(parentheses\)"),
        (r"(", r"'\(' is not a regular expression: "),
    ],
)
def test_patterns_without_a_group_are_refused(pattern, message, folder):
    with pytest.raises(ValueError, match=message):
        ImageFolderParams(train=folder, size=8, groups=pattern)


def test_a_picture_without_a_group_is_named(folder):
    with pytest.raises(DataError, match=r"'/\(\[01\]\)' does not match the path 'cat/2.JPEG' in ") as caught:
        pictures(folder, groups="/([01])")
    assert caught.value.key == "groups"


def test_unlabelled_pictures_can_be_in_folders_or_not(folder, tmp_path):
    more = tmp_path / "more"
    (more / "deep" / "deeper").mkdir(parents=True)
    for path in ("b.png", "deep/deeper/a.png"):
        Image.open(folder / "owl" / "0.png").save(more / path)

    found = pictures(folder, unlabelled=more, test=TestSplit(fraction=0.4))

    assert len(found.unlabelled) == 2 and found.unlabelled.signature == found.train.signature
    assert found.notes[-1] == "2 unlabelled images, for members with the key pretrain"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no pictures") as caught:
        pictures(folder, unlabelled=tmp_path / "empty")
    assert caught.value.key == "unlabelled"
