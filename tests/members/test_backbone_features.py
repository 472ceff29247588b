"""Vectors of a frozen network: what they are, where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import StandardScaler
from tests.features import ARCH, write_weights
from tests.members.configurations import CONFIGURATIONS, trained
from tests.members.plain_run import PlainRun
from tests.tiny import plan_of, spec_of, tiny_data, tiny_table
from torch.nn import functional

from quorate.data.dataset import ArrayImages
from quorate.data.extracted import Extracted, ExtractedImages
from quorate.data.table_features import scaling
from quorate.members.backbone import Backbone, Extractor, prepare
from quorate.members.base import load_member
from quorate.plan.identity import assets_of
from quorate.plan.planner import PlanError
from quorate.registry import MEMBERS

COLOUR = tiny_data(rows=48, shape=(16, 16, 3))
CLASSICAL = [
    "svm",
    "forest",
    "extra trees",
    "logistic",
    "neighbours",
    "naive bayes",
    "gradient boosting",
    "lightgbm",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def backbone(weights) -> Backbone:
    return Backbone(arch=ARCH, weights=weights, size=32, batch_size=20)


def extractor_of(backbone: Backbone, shape: tuple[int, int, int]) -> Extractor:
    return Extractor(backbone, shape, prepare(backbone, shape), backbone.numerics(shape))


def test_vectors_are_the_pooled_features_of_timm_on_resized_standardized_images(weights, backbone):
    # given: the network by timm's own way, and the pixels prepared by hand
    network = timm.create_model("test_resnet", num_classes=0).eval()
    tensors = load_file(weights)
    network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    x = torch.from_numpy(COLOUR.x.take(np.arange(48))).permute(0, 3, 1, 2).float() / 255
    x = functional.interpolate((x - 0.5) / 0.5, size=(32, 32), mode="bilinear", antialias=False)
    with torch.inference_mode():
        expected = network(x).numpy()

    # when
    extract = extractor_of(backbone, COLOUR.x.shape)
    found = extract(COLOUR.x)

    # then
    assert found.dtype == np.float32 and found.shape == (48, 96)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_mirrored_features_are_those_of_the_mirror_images(backbone):
    mirrored = backbone.model_copy(update={"mirrored": True})
    mirror_images = ArrayImages(COLOUR.x.pixels[:, :, ::-1])

    found = extractor_of(mirrored, COLOUR.x.shape)(COLOUR.x)

    expected = extractor_of(backbone, COLOUR.x.shape)(mirror_images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found, extractor_of(backbone, COLOUR.x.shape)(COLOUR.x), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_with_any_number_of_channels_are_accepted(backbone, channels):
    images = tiny_data(rows=5, shape=(16, 16, channels)).x

    found = extractor_of(backbone, images.shape)(images)

    assert found.shape == (5, 96) and np.isfinite(found).all()


def test_grey_images_have_the_vectors_of_the_same_images_in_colour(backbone):
    grey = tiny_data(rows=5, shape=(16, 16, 1)).x
    pixels = grey.take(np.arange(5))
    colour = type(grey)(np.repeat(pixels, 3, axis=3))

    vectors = [extractor_of(backbone, x.shape)(x) for x in (grey, colour)]

    np.testing.assert_allclose(*vectors, rtol=1e-3, atol=1e-4)


def test_a_pth_file_gives_what_the_safetensors_file_gives(weights, backbone, tmp_path):
    torch.save({"state_dict": load_file(weights)}, tmp_path / "w.pth")
    other = backbone.model_copy(update={"weights": tmp_path / "w.pth"})

    assert prepare(other, COLOUR.x.shape) == prepare(backbone, COLOUR.x.shape)


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_classical_kind_learns_from_features_and_is_the_same_after_saving(name, backbone, tmp_path):
    configuration = {**CONFIGURATIONS[name], "features": backbone.model_dump()}

    member = trained(configuration, COLOUR, COLOUR)
    member.save(tmp_path)
    backbone.weights.rename(tmp_path / "gone")  # a bundle needs nothing beside itself
    try:
        loaded = load_member(tmp_path)
    finally:
        (tmp_path / "gone").rename(backbone.weights)

    proba = member.predict_proba(COLOUR.x)
    assert (proba.argmax(axis=1) == COLOUR.y).mean() > 0.5
    np.testing.assert_array_equal(loaded.predict_proba(COLOUR.x), proba)
    np.testing.assert_allclose(loaded.predict_proba(COLOUR.take(np.arange(3)).x), proba[:3], atol=1e-5)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".skops", ".safetensors", ".txt"}


def test_the_vectors_are_standardized_by_the_training_rows_only(backbone):
    train, valid = COLOUR.take(np.arange(30)), COLOUR.take(np.arange(30, 48))
    params = {"kind": "logistic", "features": backbone.model_dump(), "standardize": "feature"}

    member = trained(params, train, valid)

    extract = extractor_of(backbone, COLOUR.x.shape)
    expected = StandardScaler().fit(extract(train.x)).transform(extract(valid.x))
    np.testing.assert_allclose(member.features(valid.x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scheme", ["none", "channel", "quantile", "robust", "pca"])
def test_other_ways_to_standardize_apply_to_the_vectors_and_are_saved(scheme, backbone, tmp_path):
    params = {"kind": "logistic", "features": backbone.model_dump(), "standardize": scheme}

    member = trained(params, COLOUR, COLOUR)
    member.save(tmp_path)

    matrix = member.features(COLOUR.x)
    assert member.features.width == matrix.shape[1]
    np.testing.assert_array_equal(load_member(tmp_path).features(COLOUR.x), matrix)
    vectors = extractor_of(backbone, COLOUR.x.shape)(COLOUR.x)
    for step in scaling(scheme, rows=48):
        vectors = step.fit_transform(vectors)
    np.testing.assert_allclose(matrix, vectors, rtol=1e-3, atol=1e-3)


def test_features_stored_with_the_rows_are_not_computed_again(backbone, monkeypatch):
    # given: vectors that no network would give, beside the images
    extract = extractor_of(backbone, COLOUR.x.shape)
    matrix = np.random.default_rng(0).normal(size=(48, 96)).astype(np.float32)
    known = ExtractedImages(COLOUR.x, (Extracted(backbone, extract.identity, matrix, extract.weights),))
    monkeypatch.setattr(Extractor, "__call__", lambda *_, **__: pytest.fail("it was asked"))
    rows = np.array([5, 40, 7, 7])

    # when
    data = type(COLOUR)(known, COLOUR.y, COLOUR.class_names)
    params = {"kind": "knn", "features": backbone.model_dump(), "standardize": "none"}
    member = trained(params, data, data.take(rows))

    # then
    np.testing.assert_array_equal(member.features(data.take(np.arange(48)[::-1]).take(rows).x), matrix[47 - rows])
    assert known.digest() == COLOUR.x.digest()


def test_members_and_folds_that_predict_the_same_rows_compute_their_vectors_once(backbone, tmp_path, monkeypatch):
    params = {"kind": "logistic", "features": backbone.model_dump()}
    for name in "ab":
        (tmp_path / name).mkdir()
        trained(params, COLOUR.take(np.arange(20 + ord(name) % 2)), COLOUR).save(tmp_path / name)
    members = [load_member(tmp_path / name) for name in "ab"]
    asked: list[int] = []
    compute = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, x, **rest: asked.append(len(x)) or compute(self, x, **rest))
    rows = COLOUR.take(np.arange(9)).x

    for member in members:
        member.predict_proba(rows)

    assert asked == [9]


REFUSED: dict[str, tuple[str, Any, str]] = {
    "a table": (
        "{kind: svm, features: FEATURES}",
        tiny_table(),
        "features works only with images, but the data are tables of 5",
    ),
    "sample": (
        "{kind: svm, standardize: sample, features: FEATURES}",
        COLOUR,
        "standardize: sample does not apply to tables",
    ),
    "zca": (
        "{kind: svm, standardize: zca, features: FEATURES}",
        COLOUR,
        "standardize: zca does not apply to tables of 96",
    ),
    "small": (
        "{kind: svm, features: {arch: timm/vgg11, size: 16}}",
        COLOUR,
        r"timm/vgg11 does not take images of 16x16 \(.*\); it takes 32x32, so set size: 32",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_plan_refuses_networks_that_cannot_provide_features(case, weights):
    member, data, words = REFUSED[case]
    features = f"{{arch: {ARCH}, weights: {weights}, size: 32}}"

    with pytest.raises(PlanError, match=words):
        plan_of(f"{{m: {member.replace('FEATURES', features)}}}", data=data)


def test_weights_of_another_architecture_are_refused_by_the_plan(tmp_path):
    path = write_weights(tmp_path / "other.safetensors", arch="test_efficientnet")

    with pytest.raises(PlanError, match="the weights do not fit timm/test_resnet"):
        plan_of(f"{{m: {{kind: svm, features: {{arch: {ARCH}, weights: {path}, size: 32}}}}}}", data=COLOUR)


def test_saved_weights_that_do_not_fit_are_refused(backbone, tmp_path):
    trained({"kind": "logistic", "features": backbone.model_dump()}, COLOUR, COLOUR).save(tmp_path)
    save_file({"stem": torch.zeros(3)}, tmp_path / "backbone.safetensors")

    with pytest.raises(ValueError, match="the saved weights do not fit timm/test_resnet"):
        load_member(tmp_path)


def test_the_weights_the_size_and_the_mirroring_are_part_of_the_identity_and_the_path_is_not(weights, tmp_path):
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(weights.read_bytes())
    other = write_weights(tmp_path / "other.safetensors", seed=1)

    def keys(path: Path, size: int = 32, mirrored: str = "false") -> tuple[str, str]:
        features = f"{{arch: {ARCH}, weights: {path}, size: {size}, mirrored: {mirrored}}}"
        plan = plan_of(f"{{m: {{kind: svm, features: {features}}}}}", data=COLOUR)
        return plan.tasks[0].key, plan.features[0].key

    first, same, *others = keys(weights), keys(copied), keys(other), keys(weights, 48), keys(weights, 32, "true")

    assert first == same
    assert all(len({first[place], *(one[place] for one in others)}) == 4 for place in (0, 1))


def test_a_plan_identifies_each_backbone_once_whatever_the_members_and_folds(weights):
    features = f"{{arch: {ARCH}, weights: {weights}, size: 32}}"
    large = tiny_data(rows=1200, shape=(8, 8, 1))

    plan = plan_of(
        f"{{a: {{kind: svm, features: {features}}}, "
        f"b: {{kind: knn, copies: 3, features: {features}}}, c: naive_bayes}}",
        data=large,
        test=COLOUR.take(np.arange(5)),
    )

    pieces = [(task.part, task.start, task.stop) for task in plan.features]
    assert pieces == [("train", 0, 512), ("train", 512, 1024), ("train", 1024, 1200), ("test", 0, 5)]
    assert all(task.cost > 0 for task in plan.features)


def test_the_cost_of_a_member_follows_from_the_width_of_its_features(weights):
    features = f"{{arch: {ARCH}, weights: {weights}, size: 32}}"
    large = tiny_data(rows=40, shape=(64, 64, 3))

    plan = plan_of(f"{{pixels: svm, features: {{kind: svm, features: {features}}}}}", data=large)

    pixels, vectors = (plan.of(label)[0].cost for label in plan.labels)
    assert vectors == pytest.approx(pixels * (96 + 100) / (64 * 64 * 3 + 100)), "a row costs as much as 100 features"


def test_the_weights_travel_to_the_workers(weights):
    spec = spec_of(f"data: digits\nmembers: {{m: {{kind: svm, features: {{arch: {ARCH}, weights: {weights}}}}}}}")

    assert assets_of(spec) == {str(weights): weights.read_bytes()}


def test_every_kind_of_scikit_learn_takes_features():
    classical = [
        name for name in MEMBERS.names() if name != "net" and MEMBERS.get(name).__module__.startswith("quorate")
    ]

    assert len(classical) >= 10
    assert all("features" in MEMBERS.get(name).Params.model_fields for name in classical)


def test_a_member_without_a_cluster_prepares_the_weights_itself(backbone):
    run = PlainRun()

    member = trained({"kind": "logistic", "features": backbone.model_dump()}, COLOUR, COLOUR, run=run)

    assert member.history and run.reports


def test_a_member_on_joined_features_sees_the_vectors_of_all_networks_and_survives_saving(weights, backbone, tmp_path):
    # given
    other = backbone.model_copy(update={"size": 48})
    of = [one.model_dump(mode="json") for one in (backbone, other)]
    params = {"kind": "logistic", "standardize": "none", "features": {"kind": "joined", "of": of}}

    # when
    member = trained(params, COLOUR, COLOUR)
    member.save(tmp_path)
    loaded = load_member(tmp_path)

    # then
    each = [extractor_of(one, COLOUR.x.shape)(COLOUR.x) for one in (backbone, other)]
    np.testing.assert_array_equal(member.features(COLOUR.x), np.hstack(each))
    np.testing.assert_array_equal(loaded.predict_proba(COLOUR.x), member.predict_proba(COLOUR.x))


def test_a_plan_with_joined_features_has_the_tasks_and_the_weights_of_all_networks(weights):
    networks = [f"{{arch: {ARCH}, weights: {weights}, size: {size}}}" for size in (32, 48)]
    member = f"{{kind: logistic, features: {{kind: joined, of: [{', '.join(networks)}]}}}}"

    plan = plan_of(f"{{joined: {member}}}", data=COLOUR)

    assert {task.backbone.size for task in plan.features} == {32, 48}
    spec = spec_of(f"seed: 0\ndata: digits\nmembers: {{joined: {member}}}\n")
    assert assets_of(spec) == {str(weights): weights.read_bytes()}
