"""Parameters are decayed, and learn, at the rates of their group."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import plan_of, tiny_data
from torch import nn

from quorate.plan.planner import PlanError
from quorate.registry import ARCHS, OPTIMIZERS
from quorate.training.groups import parameter_groups
from quorate.training.own import adopt_optimizer
from quorate.training.schedule_stepper import schedule_of
from quorate.training.schedules import OneCycleParams


def network(kind: str, **options) -> nn.Module:
    torch.manual_seed(0)
    arch = ARCHS.get(kind)
    size = 32 if kind.startswith("timm/") else 8
    built = arch.build(
        arch.Params.model_validate({"kind": kind, **options}), shape=(size, size, 1), n_classes=3, dropout=0.0
    )
    for name, parameter in built.named_parameters():
        if name.endswith("bias"):
            nn.init.ones_(parameter)  # so that a decay would show
    return built


def shrinking(built: nn.Module, **options) -> dict[str, float]:
    """The fraction by which plain gradient descent with a learning rate of 0.5 shrinks each parameter without a
    gradient."""
    before = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    groups = parameter_groups(built, lr=0.5, weight_decay=0.1, **options)
    sgd = OPTIMIZERS.get("sgd")
    optimizer = sgd.build(sgd.Params(momentum=0), groups, lr=0.5, weight_decay=0.1)
    for parameter in built.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = dict(built.named_parameters())
    return {name: 1 - (after[name].detach().norm() / tensor.norm()).item() for name, tensor in before.items()}


def test_without_groups_all_parameters_are_decayed_alike():
    found = shrinking(network("small_resnet", width=8))

    assert all(part == pytest.approx(0.05, abs=1e-6) for part in found.values())
    assert len(found) == len(list(network("small_resnet", width=8).parameters()))


@pytest.mark.parametrize("kind", ["mlp", "small_cnn", "small_resnet"])
def test_only_weights_are_decayed_where_biases_and_norms_are_spared(kind):
    built = network(kind)

    found = shrinking(built, decay="weights")

    matrices = {name for name, parameter in built.named_parameters() if parameter.ndim > 1}
    assert {name for name, part in found.items() if part > 1e-6} == matrices
    assert all(found[name] == pytest.approx(0.05, abs=1e-6) for name in matrices)


def test_parameters_without_weight_decay_in_timm_are_respected():
    found = shrinking(network("timm/test_vit"), decay="weights")

    assert {name for name, part in found.items() if abs(part) < 1e-6} >= {"pos_embed", "cls_token"}
    assert found["blocks.0.attn.qkv.weight"] == pytest.approx(0.05, abs=1e-6)


def test_each_layer_of_an_mlp_learns_at_a_part_of_the_rate_of_the_next():
    groups = parameter_groups(network("mlp", hidden=[8, 8]), lr=0.8, weight_decay=0.1, layer_decay=0.5)

    # linear and norm, linear and norm, the head
    assert [group["lr"] for group in groups] == pytest.approx([0.8, 0.4, 0.2])
    assert [len(group["params"]) for group in groups] == [2, 3, 3]


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("small_cnn", {"0.weight": 0.125, "1.weight": 0.125, "4.weight": 0.25, "8.weight": 0.5, "14.bias": 1}),
        ("small_resnet", {"0.weight": 0.0625, "3.body.0.weight": 0.125, "5.shortcut.0.weight": 0.5, "9.weight": 1}),
        ("timm/test_resnet", {"conv1.0.weight": 0.5**5, "layer1.0.conv1.weight": 0.0625, "fc.weight": 1}),
        ("timm/test_vit", {"blocks.5.mlp.fc1.weight": 0.5, "pos_embed": 0.5**7, "head.weight": 1}),
    ],
)
def test_the_rate_of_a_layer_falls_with_its_distance_from_the_head(kind, rates):
    built = network(kind)
    names = {parameter: name for name, parameter in built.named_parameters()}

    groups = parameter_groups(built, lr=1.0, weight_decay=0.0, layer_decay=0.5)

    found = {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}
    assert found.keys() == set(names.values())
    assert {name: found[name] for name in rates} == pytest.approx(rates)
    assert next(iter(found.values())) == max(found.values()) == 1, "the history shows the rate of the first group"


def test_layer_decay_and_parameters_without_weight_decay_can_be_combined():
    built = network("mlp", hidden=[8])

    found = shrinking(built, decay="weights", layer_decay=0.5)

    expected = {"1.weight": 0.025, "2.weight": 0, "2.bias": 0, "5.weight": 0.05, "5.bias": 0}
    assert found == pytest.approx(expected, abs=1e-6)


def test_one_cycle_moves_each_layer_around_its_own_rate():
    groups = parameter_groups(network("mlp", hidden=[8]), lr=1.0, weight_decay=0.0, layer_decay=0.5)
    sgd = OPTIMIZERS.get("sgd")
    optimizer = sgd.build(sgd.Params(), groups, lr=1.0, weight_decay=0.0)

    schedule_of(OneCycleParams(start=10), sgd.Params(), optimizer, epochs=2, steps=4)

    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05])


def test_a_users_own_optimizer_gets_the_groups():
    # given
    def plain(weights, lr, weight_decay, *, factor: float = 2.0):
        return torch.optim.SGD(weights, lr=factor * lr, weight_decay=weight_decay)

    kind = adopt_optimizer("own", plain)
    groups = parameter_groups(network("mlp", hidden=[8]), lr=1.0, weight_decay=0.1, decay="weights", layer_decay=0.5)

    # when
    optimizer = kind.build(kind.Params(), groups, lr=1.0, weight_decay=0.1)

    # then
    settings = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert settings == [(1.0, 0.1), (1.0, 0.0), (0.5, 0.1), (0.5, 0.0)]


def test_an_architecture_without_a_layer_order_is_refused_when_the_job_is_planned():
    members = "{m: {kind: net, arch: torchvision/resnet18, size: 32, layer_decay: 0.7}}"

    with pytest.raises(PlanError, match=r"layer_decay is 0\.7, but the order of the layers of torchvision/resnet18 is"):
        plan_of(members, data=tiny_data())
