"""torchvision's classifiers take any channels, classes and size, and start from weights that fit."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.members.configurations import NET, trained
from tests.tiny import plan_of, tiny_data
from torch import nn
from torchvision import models

from quorate.members.net import Net
from quorate.members.net_params import NetParams, profile
from quorate.plan.planner import PlanError
from quorate.training.archs.torchvision import TorchvisionArch, TorchvisionArchParams

SHUFFLE = "torchvision/shufflenet_v2_x0_5"

SMALLEST = [
    ("alexnet", 64),
    ("convnext_tiny", 32),
    ("densenet121", 32),
    ("efficientnet_b0", 32),
    ("googlenet", 32),
    ("inception_v3", 96),
    ("maxvit_t", 224),
    ("mnasnet0_5", 32),
    ("mobilenet_v2", 32),
    ("mobilenet_v3_small", 32),
    ("regnet_x_400mf", 32),
    ("resnet18", 32),
    ("shufflenet_v2_x0_5", 32),
    ("squeezenet1_1", 32),
    ("swin_t", 32),
    ("vgg11", 32),
    ("vit_b_32", 32),
]
"""One of each family, with a size that it takes."""

LARGE = {"densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "regnet_x_400mf", "swin_t"}
"""Built in a second or more."""


def build(name: str, *, size: int = 32, channels: int = 3, n_classes: int = 5, dropout: float = 0.0) -> nn.Module:
    params = TorchvisionArchParams(kind=f"torchvision/{name}")
    return TorchvisionArch.build(params, shape=(size, size, channels), n_classes=n_classes, dropout=dropout)


@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case[0] in LARGE else []) for case in SMALLEST],
)
def test_every_family_takes_grey_images_and_gives_its_classes(name, size):
    with torch.device("meta"):
        network = build(name, size=size, channels=1).eval()
        logits = network(torch.empty(2, 1, size, size))

    assert logits.shape == (2, 5)
    assert profile(TorchvisionArchParams(kind=f"torchvision/{name}"), (size, size, 1)).flops > 1e5


def test_every_family_of_torchvision_is_tested():
    known = set(models.list_models(module=models))

    stems = {name[:4] for name, _ in SMALLEST} | {"wide"}
    assert {name for name in known if not any(name.startswith(stem) for stem in stems)} == set()


def test_the_network_is_that_of_torchvision():
    torch.manual_seed(0)
    network = build("resnet18", n_classes=1000).eval()
    torch.manual_seed(0)
    reference = models.resnet18().eval()

    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(x), reference(x))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "swin_t"])
def test_dropout_has_the_given_rate(name):
    """Before the last layer; those of VGG's own head take it too."""
    with torch.device("meta"):
        rates, none = (
            {part.p for part in build(name, dropout=rate).modules() if isinstance(part, nn.Dropout)}
            for rate in (0.3, 0.0)
        )

    assert max(rates) == 0.3 and rates <= {0.3, 0.0}
    assert none <= {0.0}


def pretrained(name: str, weights: dict, *, size: int = 32, channels: int = 3, n_classes: int = 5) -> nn.Module:
    params = TorchvisionArchParams(kind=f"torchvision/{name}")
    return TorchvisionArch.pretrained(
        params, shape=(size, size, channels), n_classes=n_classes, dropout=0.0, weights=weights
    )


def test_weights_with_another_number_of_classes_leave_the_head_at_its_initial_values():
    weights = models.shufflenet_v2_x0_5().state_dict()

    network = pretrained("shufflenet_v2_x0_5", weights)

    own = network.state_dict()
    assert own["fc.weight"].shape == (5, 1024)
    assert all(torch.equal(own[name], tensor) for name, tensor in weights.items() if not name.startswith("fc."))


def test_weights_with_the_same_number_of_classes_keep_their_head():
    weights = models.shufflenet_v2_x0_5(num_classes=5).state_dict()

    assert torch.equal(pretrained("shufflenet_v2_x0_5", weights).state_dict()["fc.weight"], weights["fc.weight"])


def test_a_grey_image_gives_the_same_output_as_its_colour_version():
    reference = models.shufflenet_v2_x0_5(num_classes=5).eval()

    network = pretrained("shufflenet_v2_x0_5", reference.state_dict(), channels=1).eval()

    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(network(x), reference(x.expand(2, 3, 32, 32)), atol=1e-4, rtol=1e-4)


def test_the_positions_of_a_transformer_are_fitted_to_the_size():
    weights = models.vision_transformer.VisionTransformer(64, 32, 1, 12, 768, 3072, num_classes=5).state_dict()
    deep = {name.replace("layer_0", f"layer_{i}"): value for name, value in weights.items() for i in range(12)}

    network = pretrained("vit_b_32", deep, size=96)

    assert network(torch.randn(1, 3, 96, 96)).shape == (1, 5)
    assert network.state_dict()["encoder.pos_embedding"].shape == (1, 10, 768)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("conv5.0.weight"), r"conv5\.0\.weight is not among them \(1 such tensors\)"),
        (
            lambda weights: weights.update({"conv5.0.weight": torch.zeros(3)}),
            r"conv5\.0\.weight has another shape \(1 such tensors\)",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused(change, message):
    weights = models.shufflenet_v2_x0_5().state_dict()
    change(weights)

    with pytest.raises(ValueError, match="the weights do not fit torchvision/shufflenet_v2_x0_5: " + message):
        pretrained("shufflenet_v2_x0_5", weights)


def test_a_member_starts_from_a_file_with_the_statistics_of_imagenet(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(models.shufflenet_v2_x0_5().state_dict(), path)
    configuration = {**NET, "arch": SHUFFLE, "size": 32, "epochs": 1, "weights": str(path)}
    colour = tiny_data(shape=(8, 8, 3))

    member = trained(configuration, colour, colour)

    assert isinstance(member, Net)
    assert member.features.standardizer.mean.ravel() == pytest.approx([0.485, 0.456, 0.406])
    assert member.features.standardizer.std.ravel() == pytest.approx([0.229, 0.224, 0.225])


def test_an_unknown_name_is_an_error_with_the_nearest_name():
    with pytest.raises(ValidationError, match="torchvision has no classifier 'resnet19'; did you mean 'resnet1"):
        TorchvisionArchParams(kind="torchvision/resnet19")


def test_a_member_may_start_from_hub_weights():
    assert NetParams(arch=SHUFFLE, weights="hub").weights == "hub"


def test_a_size_that_the_architecture_does_not_take_is_an_error_of_the_plan():
    with pytest.raises(PlanError, match=r"cannot be built for images of 8x8x1: .*patch"):
        plan_of("{m: {kind: net, arch: torchvision/vit_b_32}}")
