"""Invalid starting points of a network are refused when the job is planned, with the reason and the fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.tiny import plan_of, tiny_data, tiny_table
from torchvision import models

from quorate.members.starting_point import least_size
from quorate.plan.planner import PlanError
from quorate.registry import ARCHS
from quorate.training.weights import read_weights

COLOUR = tiny_data(shape=(8, 8, 3))


def refused(member: str, *, base: Path = Path(), data=COLOUR) -> str:
    with pytest.raises(PlanError) as caught:
        plan_of(f"{{m: {{kind: net, {member}}}}}", data=data, base=base)
    assert caught.value.member == "m"
    assert "\n" not in str(caught.value)
    return str(caught.value).partition(": ")[2]


def saved(folder: Path, network: torch.nn.Module, name: str = "w.safetensors") -> Path:
    path = folder / name
    weights = network.state_dict()
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return path


# Sizes


@pytest.mark.parametrize(
    ("arch", "size"),
    [("torchvision/alexnet", 63), ("torchvision/vgg11", 32), ("timm/test_vit", 16), ("torchvision/vit_b_32", 32)],
)
def test_an_image_that_is_too_small_is_refused_with_the_smallest_size_that_works(arch, size):
    kind = ARCHS.get(arch)

    message = refused(f"arch: {arch}")

    plan_of(f"{{m: {{kind: net, arch: {arch}, size: {size}}}}}", data=COLOUR)
    assert message.endswith(f"the smallest larger size that {arch} takes is {size}: set size: {size}")
    assert least_size(kind.Params(kind=arch), (8, 8, 3)) == size
    if arch != "timm/test_vit":  # the others are large
        return
    for side, works in ((size, True), (size - 1, False)):  # with values, not on the device meta
        try:
            network = kind.build(kind.Params(kind=arch), shape=(side, side, 3), n_classes=2, dropout=0.0).eval()
            assert network(torch.zeros(1, 3, side, side)).shape == (1, 2) and works
        except (RuntimeError, ValueError, AssertionError):
            assert not works


def test_a_requested_size_that_is_too_small_is_named():
    assert "the size is 40, and the smallest larger size that torchvision/vit_b_32 takes is 64" in refused(
        "arch: torchvision/vit_b_32, size: 40"
    )


# Weights files


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("small_cnn", "does not fit small_cnn: .*Missing key"),
        ("timm/test_vit", "of another architecture: the weights do not fit timm/test_vit: only 0 of its"),
        ("timm/test_efficientnet", "of another architecture: the weights do not fit timm/test_efficientnet: .*size"),
        ("torchvision/shufflenet_v2_x0_5", "of another architecture: .* conv1.0.weight has another shape"),
    ],
)
def test_a_file_of_another_architecture_is_refused(arch, reason, suffix, tmp_path):
    path = saved(tmp_path, timm.create_model("test_resnet"), f"w{suffix}")

    message = refused(f"arch: {arch}, size: 32, weights: {path.name}", base=tmp_path)

    assert re.search(reason, message) and path.name in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("classes", [3, 7])
def test_a_file_of_this_architecture_is_accepted_whatever_its_classes(suffix, classes, tmp_path):
    cnn = ARCHS.get("small_cnn")
    makers = {
        "small_cnn": lambda: cnn.build(cnn.Params(), shape=(32, 32, 3), n_classes=classes, dropout=0.0),
        "timm/test_resnet": lambda: timm.create_model("test_resnet", num_classes=classes),
        "timm/test_vit": lambda: timm.create_model("test_vit", num_classes=classes),
        "torchvision/shufflenet_v2_x0_5": lambda: models.shufflenet_v2_x0_5(num_classes=classes),
    }
    for arch, make in makers.items():
        path = saved(tmp_path, make(), f"{arch.replace('/', '-')}{suffix}")
        plan = plan_of(
            f"{{m: {{kind: net, arch: {arch}, size: 32, weights: {path.name}}}}}", base=tmp_path, data=COLOUR
        )
        assert len(plan.tasks) == 2


def test_colour_weights_are_accepted_for_grey_images_of_another_size(tmp_path):
    path = saved(tmp_path, timm.create_model("test_vit"))

    plan_of(f"{{m: {{kind: net, arch: timm/test_vit, size: 64, weights: {path.name}}}}}", base=tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.safetensors", b"\0" * 100), ("w.pth", b"\0" * 100), ("w.safetensors", "cut"), ("w.pth", "cut")],
    ids=["safetensors", "pth", "safetensors cut short", "pth cut short"],
)
def test_a_corrupt_file_is_refused(name, content, tmp_path):
    path = saved(tmp_path, timm.create_model("test_resnet"), name)
    path.write_bytes(path.read_bytes()[:-1000] if content == "cut" else content)

    message = refused(f"arch: timm/test_resnet, size: 32, weights: {name}", base=tmp_path)

    assert re.search(rf"/{name} (is not a readable weights file: |contains other objects than tensors, so)", message)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_names_and_shapes_are_read_without_the_values(suffix, tmp_path):
    path = saved(tmp_path, timm.create_model("test_resnet"), f"w{suffix}")

    found, whole = read_weights(path, shapes_only=True), read_weights(path)

    assert {tensor.device.type for tensor in found.values()} == {"meta"}
    assert {name: tensor.shape for name, tensor in found.items()} == {k: v.shape for k, v in whole.items()}


# Fine-tuning and pretraining


def test_gradual_unfreezing_that_would_not_reach_the_first_stage_is_refused(tmp_path):
    path = saved(tmp_path, timm.create_model("test_resnet"))
    asked = f"arch: timm/test_resnet, size: 32, weights: {path.name}, finetune: {{head_epochs: 1, unfreeze: gradual}}"

    message = refused(f"epochs: 5, {asked}", base=tmp_path)

    assert (
        "unfreeze: gradual requires 6 epochs for the 5 stages of this network, but epochs is 5; raise epochs" in message
    )
    plan_of(f"{{m: {{kind: net, epochs: 6, {asked}}}}}", base=tmp_path, data=COLOUR)


@pytest.mark.parametrize("key", ["pretrain: autoencoder", "pretrain: autoencoder, finetune: {freeze: backbone}"])
def test_pretraining_on_tables_is_refused(key):
    message = refused(f"arch: mlp, {key}", data=tiny_table())

    assert message.startswith("pretrain works only with images, but the data are tables of 5 columns")
