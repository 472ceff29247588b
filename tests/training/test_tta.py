"""Test-time augmentation is the mean over fixed passes, whatever the batches, in every form of a member."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.members.configurations import trained
from tests.tiny import tiny_data

from quorate.data.dataset import ArrayImages
from quorate.members.base import load_member
from quorate.members.net import Net
from quorate.training.augment import Augment
from quorate.training.loop import predict
from quorate.training.tta import Tta

TRAIN, VALID = tiny_data(rows=60, shape=(12, 12, 3)), tiny_data(rows=30, shape=(12, 12, 3), seed=1)
PLAIN = {"kind": "net", "arch": {"kind": "small_cnn", "width": 8}, "epochs": 2, "batch_size": 32, "lr": 0.05}


def with_tta(net: Net, **tta) -> Net:
    """The same trained network with another way to predict."""
    other = copy.copy(net)
    other.params = net.params.model_copy(update={"tta": Tta.model_validate(tta)})
    return other


@pytest.fixture(scope="module")
def net() -> Net:
    member = trained(PLAIN, TRAIN, VALID)
    assert isinstance(member, Net)
    return member


def test_two_passes_with_a_mirror_are_the_mean_of_the_image_and_its_mirror_image(net):
    images = VALID.x.take(np.arange(30))

    found = with_tta(net, augment={"mirror": True}, passes=2).predict_proba(VALID.x)

    both = [net.predict_proba(ArrayImages(pixels)) for pixels in (images, images[:, :, ::-1].copy())]
    np.testing.assert_allclose(found, np.mean(both, axis=0), atol=1e-7)
    assert not np.array_equal(both[0], both[1])


def test_passes_are_averaged_as_in_a_manual_loop(net):
    # given
    augment = {"mirror": True, "crop": 2, "rotation": 20, "color": {"hue": 0.1}, "noise": 0.1, "erase": True}
    images = torch.from_numpy(VALID.x.take(np.arange(30)))

    # when
    found = with_tta(net, augment=augment, passes=5).predict_proba(VALID.x)

    # then
    passes = [images] + [
        Augment.model_validate(augment)(images, torch.Generator().manual_seed(0x7A55 + k), shared=k)
        for k in range(1, 5)
    ]
    expected = np.mean([net.predict_proba(ArrayImages(pixels.numpy())) for pixels in passes], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_predictions_do_not_depend_on_how_rows_are_batched(net):
    varied = with_tta(net, augment={"crop": 2, "noise": 0.1, "elastic": {"sigma": 1}, "trivialaugment": True}, passes=4)

    together = varied.predict_proba(VALID.x)

    apart = [varied.predict_proba(VALID.x.subset(rows)) for rows in np.split(np.arange(30), [1, 4, 17])]
    np.testing.assert_allclose(np.concatenate(apart), together, atol=1e-6)
    torch.manual_seed(99)
    np.testing.assert_array_equal(varied.predict_proba(VALID.x), together)


def test_a_saved_member_keeps_test_time_augmentation_and_validation_metrics_do_not_use_it(net, tmp_path):
    tta = {"augment": {"mirror": True, "crop": 1}, "passes": 3}
    member = trained({**PLAIN, "tta": tta}, TRAIN, VALID)
    member.save(tmp_path)

    loaded = load_member(tmp_path)

    found = member.predict_proba(VALID.x)
    np.testing.assert_array_equal(loaded.predict_proba(VALID.x), found)
    assert not np.array_equal(found, net.predict_proba(VALID.x))
    np.testing.assert_array_equal(found, with_tta(net, **tta).predict_proba(VALID.x))
    assert [figures["valid_loss"] for figures in member.history] == [f["valid_loss"] for f in net.history]


def test_a_network_of_a_users_own_is_averaged_in_onnx_too(tmp_path: Path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (tmp_path / "tta_nets.py").write_text(
        "from torch import nn\n"
        "def flat(shape, n_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], n_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {**PLAIN, "arch": "tta_nets:flat", "tta": {"augment": {"mirror": True, "crop": 2}, "passes": 3}}
    member = trained(own, TRAIN, VALID)
    (tmp_path / "saved").mkdir()
    member.save(tmp_path / "saved")

    loaded = load_member(tmp_path / "saved")

    assert type(loaded).__name__ == "SavedNetwork"
    np.testing.assert_allclose(loaded.predict_proba(VALID.x), member.predict_proba(VALID.x), atol=1e-5)
    assert isinstance(member, Net) and member.network is not None
    plain = predict(member.network, member._feed(VALID.x)).numpy()
    assert np.abs(plain - member.predict_proba(VALID.x)).max() > 1e-4


@pytest.mark.parametrize(
    ("tta", "words"),
    [
        ({"augment": {}}, "augment is empty; name an augmentation such as `mirror: true`"),
        ({"augment": {"mirror": False}}, "augment is empty"),
        ({"augment": {"mirror": True, "mixup": 0.2}}, "mixup would mix the rows during prediction"),
        ({"augment": {"mirror": True}, "passes": 1}, "greater than or equal to 2"),
        ({"passes": 3}, "Field required"),
    ],
)
def test_unsuitable_test_time_augmentations_are_refused(tta, words):
    with pytest.raises(ValidationError, match=words):
        Tta.model_validate(tta)
