"""Weights that a user brings: read, fitted to the data, and never executed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.dataset import Dataset
from quorate.members.base import load_member
from quorate.members.net import Net, NetParams
from quorate.registry import ARCHS
from quorate.training.context import Numerics
from quorate.training.weights import WeightsError, read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = WEIGHTS) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def barely_trained(data: Dataset, **params) -> Net:
    """A network after one epoch at a rate that moves no weight."""
    asked = NetParams.model_validate({"epochs": 1, "lr": 1e-12, "weight_decay": 0, **params})
    run = PlainRun(numerics=Numerics(batch_size=32))
    return Net(asked, signature=data.signature, n_classes=data.n_classes).fit(data, data, run)


def weights_of(net: Net) -> dict[str, torch.Tensor]:
    assert net.network is not None
    return net.network.state_dict()


# Reading


def test_a_safetensors_file_is_read(tmp_path):
    save_file(WEIGHTS, tmp_path / "w.safetensors")

    assert same(read_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS},
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
    ],
    ids=["plain", "state_dict", "model", "data parallel"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_torch_files_are_read_in_all_usual_forms(content, suffix, tmp_path):
    torch.save(content, tmp_path / f"w{suffix}")

    assert same(read_weights(tmp_path / f"w{suffix}"))


class Malicious:
    """What an attacker saves: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_that_holds_code_is_refused_and_the_code_not_run(tmp_path):
    torch.save({"a.weight": torch.zeros(1), "x": Malicious(tmp_path / "owned")}, tmp_path / "w.pth")

    with pytest.raises(
        WeightsError, match=r"w\.pth contains other objects than tensors, so it is not loaded; save only the state_dict"
    ):
        read_weights(tmp_path / "w.pth")

    assert not (tmp_path / "owned").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "owned").exists(), "the attack is real"


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "w.pth")

    with pytest.raises(WeightsError, match="save only the state_dict"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 3}, torch.zeros(1)], ids=["list", "number", "tensor"])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(WeightsError, match="does not contain a mapping of names to tensors"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"\0" * 100, b"hello world this is html", b"", b"\x80\x02J"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "none.pth"])
def test_a_file_that_cannot_be_read_is_named(name, content, tmp_path):
    for damaged in ("w.safetensors", "w.pth"):
        (tmp_path / damaged).write_bytes(content)

    with pytest.raises(WeightsError, match=f"{name} "):
        read_weights(tmp_path / name)


# Using


@pytest.mark.parametrize("arch", ["mlp", "small_cnn", "small_resnet"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_network_starts_from_the_weights_of_a_file(arch, suffix, tmp_path):
    # given: the weights of a network of another seed
    data, path = tiny_data(), tmp_path / f"w{suffix}"
    kind = ARCHS.get(arch)
    torch.manual_seed(99)
    network = kind.build(kind.Params(), shape=(8, 8, 1), n_classes=3, dropout=0.0)
    given = network.state_dict()
    save_file(given, path) if suffix == ".safetensors" else torch.save(given, path)

    # when
    net = barely_trained(data, arch=arch, weights=path)

    # then
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(weights_of(net)[name], parameter.detach(), atol=1e-6, rtol=0)
    fresh = barely_trained(data, arch=arch)
    assert any(
        (weights_of(fresh)[name] - parameter).abs().max() > 0.01 for name, parameter in network.named_parameters()
    )


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    save_file(WEIGHTS, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match=r"w\.safetensors does not fit mlp: .*\s+Missing key"):
        barely_trained(tiny_data(), arch="mlp", weights=tmp_path / "w.safetensors")


@pytest.fixture
def backbone(tmp_path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file with a network of timm for colour images of 1,000 classes."""
    torch.manual_seed(99)
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, tmp_path / "backbone.safetensors")
    return tmp_path / "backbone.safetensors", weights


@pytest.mark.parametrize("channels", [1, 3])
def test_a_backbone_of_timm_is_fitted_to_channels_and_classes(channels, backbone, tmp_path):
    # given
    path, given = backbone
    data = tiny_data(shape=(8, 8, channels))

    # when
    net = barely_trained(data, arch="timm/test_resnet", size=32, weights=path)

    # then: grey is the sum of the colours' filters, the head is new, everything else is the file's
    found = weights_of(net)
    first = given["conv1.0.weight"]
    torch.testing.assert_close(
        found["conv1.0.weight"], first if channels == 3 else first.sum(dim=1, keepdim=True), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(found["layer4.0.conv1.weight"], given["layer4.0.conv1.weight"], atol=1e-6, rtol=0)
    assert found["fc.weight"].shape == (3, given["fc.weight"].shape[1])


def test_a_pretrained_backbone_brings_its_own_mean_and_deviation(backbone):
    path, _ = backbone
    config = timm.get_pretrained_cfg("test_resnet")

    colour = barely_trained(tiny_data(shape=(8, 8, 3)), arch="timm/test_resnet", size=32, weights=path)
    grey = barely_trained(tiny_data(), arch="timm/test_resnet", size=32, weights=path)

    assert colour.features.standardizer.mean.ravel() == pytest.approx(config.mean)
    assert colour.features.standardizer.std.ravel() == pytest.approx(config.std)
    assert grey.features.standardizer.mean.shape == (1, 1, 1), (
        "that of the training rows: the backbone knows colours only"
    )


def test_a_bundle_does_not_need_the_file_that_its_member_started_from(backbone, tmp_path):
    path, _ = backbone
    data = tiny_data(shape=(8, 8, 3))
    net = barely_trained(data, arch="timm/test_resnet", size=32, weights=path)
    (tmp_path / "saved").mkdir()
    net.save(tmp_path / "saved")
    path.unlink()

    loaded = load_member(tmp_path / "saved")

    np.testing.assert_array_equal(loaded.predict_proba(data.x), net.predict_proba(data.x))


@pytest.mark.parametrize(
    ("arch", "reason"),
    [("test_vit", "only 0 of its"), ("test_efficientnet", "size mismatch")],
)
def test_weights_of_another_network_of_timm_are_refused_by_name(arch, reason, backbone):
    path, _ = backbone

    with pytest.raises(ValueError, match=f"the weights do not fit timm/{arch}: .*{reason}"):
        barely_trained(tiny_data(), arch=f"timm/{arch}", size=32, weights=path)
