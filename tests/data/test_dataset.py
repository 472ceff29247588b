"""A dataset is known by its content, takes rows without copying, and encodes labels once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tests.tiny import tiny_data

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.labels import encode_labels
from quorate.data.source import DataError, OpenedData, TestSplit, first_rows, hold_out
from quorate.data.sources.digits import Digits, DigitsParams


def test_the_fingerprint_is_that_of_the_content():
    assert tiny_data().fingerprint == tiny_data().fingerprint != tiny_data(seed=1).fingerprint


def test_any_pixel_any_label_and_any_name_changes_the_fingerprint():
    # given
    data = tiny_data(rows=6)
    prints = {data.fingerprint}

    # when: each label once, each of some pixels once, a name, the shape
    for row in range(6):
        y, pixels = data.y.copy(), data.x.take(np.arange(6))
        y[row] = (y[row] + 1) % 3
        pixels[row, row, 7 - row, 0] ^= 1
        prints |= {Dataset(data.x, y, data.class_names).fingerprint}
        prints |= {Dataset(ArrayImages(pixels), data.y, data.class_names).fingerprint}
    prints |= {Dataset(data.x, data.y, ("a", "b", "c")).fingerprint, Dataset(data.x, data.y, ("a", "bc")).fingerprint}
    prints |= {
        Dataset(ArrayImages(data.x.take(np.arange(6)).reshape(6, 4, 16, 1)), data.y, data.class_names).fingerprint
    }

    # then
    assert len(prints) == 1 + 6 + 6 + 2 + 1


def test_the_order_of_rows_is_part_of_the_fingerprint():
    data = tiny_data()
    same_labels = np.array([3, 1, 2, 0, *range(4, 40)])  # rows 0 and 3 are of one class

    assert data.take(same_labels).fingerprint != data.take(np.arange(40)).fingerprint


def test_a_subset_of_a_subset_is_not_copied():
    data = tiny_data()

    part = data.take(np.arange(10, 30)).take(np.array([5, 0]))

    assert len(part) == len(part.x) == 2
    np.testing.assert_array_equal(part.y, data.y[[15, 10]])
    np.testing.assert_array_equal(part.x.take(np.array([1, 0, 1])), data.x.take(np.array([10, 15, 10])))
    assert (part.x.shape, part.n_classes) == ((8, 8, 1), 3)


def test_read_only_images_stay_read_only_and_batches_are_writable():
    pixels = tiny_data().x.take(np.arange(40))
    pixels.flags.writeable = False

    batch = ArrayImages(pixels).take(np.array([0, 1]))

    assert batch.flags.writeable


@pytest.mark.parametrize(
    ("labels", "names", "y", "classes"),
    [
        ([7, 3, 7], None, [1, 0, 1], ("3", "7")),
        (["b", "a", "b"], None, [1, 0, 1], ("a", "b")),
        ([True, False, True], None, [1, 0, 1], ("False", "True")),
        ([1, 0, 1], ["no", "yes", "maybe"], [1, 0, 1], ("no", "yes", "maybe")),
        (["yes", "no", "yes"], ["no", "yes", "maybe"], [1, 0, 1], ("no", "yes", "maybe")),
        (np.array([1, 0, 1], np.uint8), ["no", "yes"], [1, 0, 1], ("no", "yes")),
    ],
    ids=str,
)
def test_labels_of_any_type_become_positions_in_the_class_names(labels, names, y, classes):
    encoded, found = encode_labels(np.array(labels), names)

    np.testing.assert_array_equal(encoded, y)
    assert encoded.dtype == np.int64
    assert found == classes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "the label 3 is not a position in the list of 2 class names; it must be in 0..1"),
        ([0, -1], "the label -1 is not a position"),
        (["a", "c", "d"], r"row 2: the label 'c' is not a class \(nor d\).*the classes are a, b"),
    ],
)
def test_labels_without_a_name_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        encode_labels(np.array(labels), ["a", "b"])


def test_the_digits_are_those_of_scikit_learn_split_by_its_own_function(digits):
    x, y = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(1797), test_size=0.25, stratify=y, random_state=0)

    for part, rows in ((digits.train, train), (digits.test, test)):
        np.testing.assert_array_equal(part.y, y[rows])
        pixels = part.x.take(np.arange(len(part)))
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (8, 8, 1)
        assert np.abs(pixels.reshape(-1, 64) / 15.9375 - x[rows]).max() < 1 / 15
    assert digits.train.class_names == tuple("0123456789")


def test_the_digits_can_be_opened_whole():
    opened = Digits.open(DigitsParams(test=None))

    assert (len(opened.train), opened.test) == (1797, None)


def test_a_held_out_part_is_that_of_scikit_learn():
    data = tiny_data()

    train, test = hold_out(data, TestSplit(fraction=0.3, seed=5))

    rows = train_test_split(np.arange(40), test_size=0.3, stratify=data.y, random_state=5)
    for part, expected in zip((train, test), rows, strict=True):
        np.testing.assert_array_equal(part.x.take(np.arange(len(part))), data.x.take(expected))
        np.testing.assert_array_equal(part.y, data.y[expected])


def test_a_class_too_small_to_be_held_out_is_an_error_of_the_key_test():
    data = tiny_data(rows=7)
    lonely = Dataset(data.x, np.array([0, 0, 0, 1, 1, 1, 2]), data.class_names)

    with pytest.raises(DataError, match=r"cannot hold out 0.3 of 7 rows: ") as caught:
        hold_out(lonely, TestSplit(fraction=0.3))

    assert caught.value.key == "test"


def test_a_limit_takes_the_first_training_rows_and_leaves_the_test_alone():
    opened = OpenedData(tiny_data(), tiny_data(seed=1), ("before",))

    limited = first_rows(opened, 10)

    np.testing.assert_array_equal(limited.train.x.take(np.arange(10)), opened.train.x.take(np.arange(10)))
    assert len(limited.train) == 10 and limited.test is opened.test
    assert limited.notes == ("before", "limit: the first 10 of 40 training rows are used")
    assert limited.train.fingerprint != opened.train.fingerprint
    for limit in (None, 40, 50):
        assert first_rows(opened, limit) is opened


def test_a_limit_that_would_lose_a_class_takes_the_first_rows_of_each_in_proportion():
    # given: rows that come class by class: 60 of the first, 30 of the second, 10 of the third
    y = np.repeat([0, 1, 2], [60, 30, 10])
    sorted_rows = Dataset(ArrayImages(np.arange(100, dtype=np.uint8)[:, None, None, None]), y, ("a", "b", "c"))

    limited = first_rows(OpenedData(sorted_rows, None), 20)

    kept = limited.train.x.take(np.arange(20)).ravel()
    np.testing.assert_array_equal(kept, [*range(12), *range(60, 66), *range(90, 92)])
    assert limited.notes == (
        "limit: 20 of 100 training rows are used, the first rows of each class in proportion to its size, because the "
        "first 20 rows of the data have no row of 'b', 'c'",
    )
    assert set(first_rows(OpenedData(sorted_rows, None), 3).train.y) == {0, 1, 2}
    with pytest.raises(DataError, match="2 rows cannot contain all 3 classes") as caught:
        first_rows(OpenedData(sorted_rows, None), 2)
    assert caught.value.key == "limit"
