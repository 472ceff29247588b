"""Standardization agrees with scikit-learn and sees the training rows of its fold only."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.standardize import Standardizer, fit_standardizer
from quorate.members.net import Net, NetParams
from quorate.members.svm import Svm, SvmParams

DATA = tiny_data(rows=50, shape=(8, 6, 3))
PIXELS = DATA.x.take(np.arange(50))


def test_features_are_standardized_as_by_scikit_learn():
    scaled = fit_standardizer(DATA.x, "feature")(PIXELS)

    assert scaled.dtype == np.float32 and scaled.shape == PIXELS.shape
    reference = StandardScaler().fit_transform(PIXELS.reshape(50, -1) / 255)
    np.testing.assert_allclose(scaled.reshape(50, -1), reference, atol=2e-6)


@pytest.mark.parametrize("scheme", ["feature", "channel"])
def test_the_statistics_do_not_depend_on_the_size_of_a_chunk(scheme):
    bright = ArrayImages(np.random.default_rng(0).integers(200, 256, (1000, 3, 2, 3), dtype=np.uint8))

    whole, parts = (fit_standardizer(bright, scheme, chunk=chunk) for chunk in (4096, 7))

    np.testing.assert_array_equal(parts.mean, whole.mean)
    np.testing.assert_array_equal(parts.std, whole.std)
    pixels = bright.take(np.arange(1000)) / 255
    np.testing.assert_allclose(whole.std, pixels.std(axis=(0, 1, 2) if scheme == "channel" else 0, keepdims=True)[0])


def test_each_channel_has_its_own_mean_and_deviation():
    standardizer = fit_standardizer(DATA.x, "channel")

    flat = (PIXELS / 255.0).reshape(-1, 3)
    assert standardizer.mean.ravel() == pytest.approx(flat.mean(axis=0), rel=1e-6)
    assert standardizer.std.ravel() == pytest.approx(flat.std(axis=0), rel=1e-6)
    expected = (PIXELS / 255.0 - flat.mean(axis=0)) / flat.std(axis=0)
    np.testing.assert_allclose(standardizer(PIXELS), expected, atol=2e-6)


def test_a_sample_is_standardized_by_itself():
    scaled = fit_standardizer(DATA.x, "sample")(PIXELS)

    for row in (0, 49):
        image = PIXELS[row] / 255.0
        np.testing.assert_allclose(scaled[row], (image - image.mean()) / image.std(), atol=2e-6)
    np.testing.assert_array_equal(Standardizer("sample")(PIXELS[3:4]), scaled[3:4])


def test_without_a_scheme_pixels_are_scaled_to_one():
    np.testing.assert_allclose(fit_standardizer(DATA.x, "none")(PIXELS), PIXELS / 255.0, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["feature", "channel", "sample"])
def test_constant_pixels_become_zero_and_not_infinite(scheme):
    constant = np.full((5, 4, 4, 1), 77, np.uint8)

    scaled = fit_standardizer(ArrayImages(constant), scheme)(constant)

    np.testing.assert_allclose(scaled, 0, atol=1e-6)


@pytest.mark.parametrize("scheme", ["feature", "channel", "sample", "none"])
def test_a_standardizer_is_the_same_after_json(scheme):
    fitted = fit_standardizer(DATA.x, scheme)

    np.testing.assert_array_equal(Standardizer.from_json(fitted.to_json())(PIXELS), fitted(PIXELS))


def test_known_statistics_of_channels_are_taken_as_they_are():
    scaled = Standardizer.of_channels((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))(np.full((1, 1, 1, 3), 255, np.uint8))

    np.testing.assert_array_equal(scaled.ravel(), [1.0, 0.75, 0.5])


@pytest.mark.parametrize(
    ("member", "params"),
    [(Svm, SvmParams()), (Net, NetParams(arch="mlp", epochs=2))],
    ids=["svm", "net"],
)
def test_fitted_statistics_exclude_the_validation_rows(member, params):
    # given: validation rows, and others that differ in every pixel and label
    train, valid = tiny_data(), tiny_data(rows=9, seed=1)
    other = Dataset(ArrayImages(255 - valid.x.take(np.arange(9))), (valid.y + 1) % 3, valid.class_names)

    # when
    first, second = (
        member(params, signature=train.signature, n_classes=3).fit(train, rows, PlainRun()) for rows in (valid, other)
    )

    # then
    assert first.features.standardizer.to_json() == second.features.standardizer.to_json()
    np.testing.assert_array_equal(first.predict_proba(train.x), second.predict_proba(train.x))
    expected = fit_standardizer(train.x, "feature" if member is Svm else "channel")
    np.testing.assert_array_equal(first.features.standardizer.mean, expected.mean)
