"""Whitening and robust scaling agree with scikit-learn, use only training rows, and are saved with the member."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import RobustScaler, StandardScaler
from tests.members.plain_run import PlainRun
from tests.tiny import plan_of, tiny_data, tiny_table

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.features import fit_features, load_features
from quorate.data.signature import Column, TableSignature
from quorate.data.standardize import Standardizer, fit_standardizer
from quorate.data.table import Table
from quorate.data.whitening import EPSILON, fit_whitening
from quorate.members.base import load_member
from quorate.members.net import Net, NetParams
from quorate.members.svm import Svm, SvmParams
from quorate.plan.planner import PlanError
from quorate.training.context import Numerics
from quorate.training.feed import PixelFeed

RANDOM = np.random.default_rng(0)


def blurred(rows: int, shape: tuple[int, int, int] = (5, 4, 2)) -> np.ndarray:
    """Images whose neighbouring pixels are alike, uint8."""
    noise = RANDOM.normal(size=(rows, *shape))
    smooth = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2) + noise.mean(axis=3, keepdims=True)
    return (128 + 30 * smooth).clip(0, 255).astype(np.uint8)


PIXELS = blurred(300)
IMAGES = ArrayImages(PIXELS)
FLAT = PIXELS.reshape(300, -1) / 255.0


def whitened(scheme: str, pixels: np.ndarray, *, epsilon: float = 0.0) -> np.ndarray:
    mean, matrix = fit_whitening(ArrayImages(PIXELS), scheme, epsilon=epsilon)
    return Standardizer(scheme, mean, None, matrix)(pixels).reshape(len(pixels), -1)


def test_zca_without_regularization_leaves_the_training_rows_with_the_identity_as_covariance():
    found = whitened("zca", PIXELS)

    np.testing.assert_allclose(np.cov(found, rowvar=False), np.eye(40), atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)


def test_zca_is_the_inverse_symmetric_root_of_the_covariance():
    _, matrix = fit_whitening(IMAGES, "zca", epsilon=0.0)

    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(matrix @ np.cov(FLAT, rowvar=False) @ matrix, np.eye(40), atol=1e-3)


def test_zca_stays_closer_to_the_image_than_pca():
    scaled = StandardScaler().fit_transform(FLAT)

    near, far = (np.abs(whitened(scheme, PIXELS) - scaled).mean() for scheme in ("zca", "pca"))

    assert near < 0.7 * far
    own = [np.corrcoef(whitened("zca", PIXELS)[:, i], FLAT[:, i])[0, 1] for i in range(40)]
    assert min(own) > 0.5, "each pixel is still mostly itself"


def test_pca_is_that_of_scikit_learn():
    reference = PCA(whiten=True).fit_transform(FLAT)

    found = whitened("pca", PIXELS)

    signs = np.sign((found * reference).sum(axis=0))
    np.testing.assert_allclose(found * signs, reference, atol=2e-3)


def test_the_regularization_shrinks_each_component_by_its_variance():
    variance = PCA().fit(FLAT).explained_variance_
    epsilon = EPSILON * FLAT.var(axis=0, ddof=1).mean()

    found = fit_standardizer(IMAGES, "pca")(PIXELS).reshape(300, -1)

    np.testing.assert_allclose(found.var(axis=0, ddof=1), variance / (variance + epsilon), rtol=1e-3)


def test_the_whitening_does_not_depend_on_the_size_of_a_chunk():
    whole, parts = (fit_standardizer(IMAGES, "zca", chunk=chunk) for chunk in (4096, 7))

    np.testing.assert_allclose(parts.matrix, whole.matrix, atol=1e-4)


def test_directions_in_which_the_training_rows_do_not_vary_are_dropped():
    # given: fewer rows than pixels, a constant pixel, and other rows where it is not constant
    few = blurred(12)
    few[:, 0, 0, 0] = 9
    other = blurred(50)

    # when
    standardizers = [fit_standardizer(ArrayImages(few), scheme) for scheme in ("pca", "zca")]

    # then
    for standardizer in standardizers:
        assert np.abs(standardizer(other)).max() < 30
        np.testing.assert_allclose(standardizer.matrix[0], 0, atol=1e-12)
    np.testing.assert_allclose(standardizers[0](other).reshape(50, -1)[:, 11:], 0, atol=1e-5)


@pytest.mark.parametrize("scheme", ["pca", "zca", "robust"])
def test_constant_images_become_zero(scheme):
    constant = np.full((5, 4, 4, 1), 77, np.uint8)

    found = fit_standardizer(ArrayImages(constant), scheme)(constant)

    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_robust_pixels_are_those_of_scikit_learn():
    for rows in (300, 6, 1):
        found = fit_standardizer(ArrayImages(PIXELS[:rows]), "robust", chunk=100)(PIXELS)

        reference = RobustScaler().fit(FLAT[:rows]).transform(FLAT)
        np.testing.assert_allclose(found.reshape(300, -1), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scheme", ["pca", "zca", "robust"])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_networks_get_the_same_standardized_numbers(scheme, memory):
    standardizer = fit_standardizer(IMAGES, scheme)

    feed = PixelFeed(IMAGES, standardize=standardizer, numerics=Numerics(memory_format=memory), size=None)

    found = feed.batch(torch.tensor([3, 0, 7])).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, standardizer(PIXELS[[3, 0, 7]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", ["pca", "zca", "robust"])
@pytest.mark.parametrize(
    ("member", "params"),
    [(Svm, {}), (Net, {"arch": "mlp", "epochs": 2}), (Net, {"arch": {"kind": "small_cnn", "width": 8}, "epochs": 1})],
    ids=["svm", "mlp", "cnn"],
)
def test_fitted_statistics_exclude_the_validation_rows_and_are_saved_with_the_member(member, params, scheme, tmp_path):
    if scheme == "pca" and "small_cnn" in str(params):
        return
    # given: validation rows, and others that differ in every pixel and label
    train, valid = tiny_data(), tiny_data(rows=9, seed=1)
    other = Dataset(ArrayImages(255 - valid.x.take(np.arange(9))), (valid.y + 1) % 3, valid.class_names)
    chosen = (SvmParams if member is Svm else NetParams)(standardize=scheme, **params)

    # when
    first, second = (
        member(chosen, signature=train.signature, n_classes=3).fit(train, rows, PlainRun()) for rows in (valid, other)
    )
    first.save(tmp_path)
    loaded = load_member(tmp_path)

    # then
    np.testing.assert_array_equal(first.predict_proba(train.x), second.predict_proba(train.x))
    np.testing.assert_array_equal(loaded.predict_proba(valid.x), first.predict_proba(valid.x))
    expected = fit_standardizer(train.x, scheme)
    np.testing.assert_array_equal(first.features.standardizer.mean, expected.mean)
    np.testing.assert_array_equal(first.features.standardizer.matrix, expected.matrix)


NUMBERS = TableSignature(tuple(Column(name, "numeric") for name in "abcd"))


def correlated(rows: int = 200) -> Table:
    """Four columns, the last one the sum of two others."""
    a, b, c = RANDOM.normal(size=(3, rows))
    return Table.of(pd.DataFrame({"a": a, "b": 3 * a + b, "c": c, "d": a + c}), NUMBERS)


def test_a_table_is_whitened_as_by_scikit_learn_and_dependent_columns_are_dropped():
    rows = correlated()

    found = fit_features(rows, standardize="pca", encoding="onehot")(rows)

    reference = PCA(3, whiten=True).fit_transform(StandardScaler().fit_transform(rows.frame))
    np.testing.assert_allclose(np.abs(found), np.abs(reference), atol=1e-4)
    np.testing.assert_allclose(np.cov(found, rowvar=False), np.eye(3), atol=1e-4)


def test_robust_columns_are_those_of_scikit_learn():
    rows = correlated()

    found = fit_features(rows, standardize="robust", encoding="onehot")(rows)

    np.testing.assert_allclose(found, RobustScaler().fit_transform(rows.frame), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoding", ["onehot", "ordinal", "index"])
@pytest.mark.parametrize("scheme", ["pca", "robust"])
def test_columns_of_every_kind_are_loaded_with_the_same_bits_and_without_foreign_types(encoding, scheme, tmp_path):
    train, other = tiny_table(), tiny_table(rows=20, seed=1)
    features = fit_features(train.x, standardize=scheme, encoding=encoding)

    loaded = load_features(tmp_path, features.save(tmp_path))

    np.testing.assert_array_equal(loaded(other.x), features(other.x))
    assert loaded.width == features.width
    assert set(skops.io.get_untrusted_types(file=tmp_path / "encoder.skops")) <= {"numpy.dtype"}
    assert scheme == "robust" or not np.isnan(features(other.x)[:, :3]).any(), "gaps are filled before the components"


def test_a_table_without_any_variance_is_left_as_zeros():
    rows = Table.of(pd.DataFrame({name: [2.0] * 5 for name in "abcd"}), NUMBERS)

    found = fit_features(rows, standardize="pca", encoding="onehot")(rows)

    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize(
    ("members", "data", "words"),
    [
        ("{m: {kind: svm, standardize: zca}}", tiny_table(), "standardize: zca does not apply to tables of 5 columns"),
        (
            "{m: {kind: svm, standardize: pca}}",
            tiny_data(rows=6, shape=(64, 65, 1)),
            "standardize: pca allows at most 4,096 values per row, but images of 64x65x1 have 4,160; choose feature or "
            "none, or smaller images (`size` of the data)",
        ),
        (
            "{m: {kind: net, arch: small_cnn, standardize: pca}}",
            tiny_data(),
            "standardize: pca does not preserve the image, which small_cnn needs; choose zca, which preserves it",
        ),
    ],
)
def test_the_plan_refuses_data_that_cannot_be_whitened(members, data, words):
    with pytest.raises(PlanError, match=words.replace("(", r"\(").replace(")", r"\)")):
        plan_of(members, data=data)
