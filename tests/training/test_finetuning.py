"""Fine-tuning: frozen parts do not change, and all others change at the requested learning rate."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from torch import nn
from torchvision import models

from quorate.members.net import Net, NetParams
from quorate.registry import ARCHS
from quorate.training.backbone import feature_width, head_names, head_parameters, stages_of, without_head
from quorate.training.context import Numerics, Signal
from quorate.training.finetuning import Finetune, freezing, slower_backbone
from quorate.training.weights import WeightsError, load_weights, read_weights

CNN = {"kind": "small_cnn", "width": 8}


def network_of(name: str = "small_cnn", **params) -> nn.Module:
    kind = ARCHS.get(name)
    return kind.build(kind.Params(kind=name, **params), shape=(32, 32, 3), n_classes=5, dropout=0.1)


# The parts of a network


@pytest.mark.parametrize(
    ("name", "head", "stages"),
    [
        ("mlp", ["9"], 2),
        ("small_cnn", ["14"], 3),
        ("small_resnet", ["9"], 4),
        ("torchvision/resnet18", ["fc.1"], 5),
        ("torchvision/mobilenet_v2", ["classifier.1"], 19),
        ("torchvision/squeezenet1_1", ["classifier.1"], 9),
        ("timm/resnet18", ["fc"], 5),
        ("timm/mobilenetv2_100", ["classifier"], 8),
        ("timm/convnext_atto", ["head.fc"], 5),
        ("timm/deit_tiny_distilled_patch16_224", ["head", "head_dist"], 13),
    ],
)
def test_every_weight_is_in_the_head_or_in_one_stage(name, head, stages):
    with torch.device("meta"):
        network = network_of(name)

    found = [id(weight) for stage in stages_of(network) for weight in stage]

    assert head_names(network) == head
    assert len(stages_of(network)) == stages
    everything = [*found, *map(id, head_parameters(network))]
    assert len(everything) == len(set(everything)) == len(list(network.parameters()))


def test_the_stages_of_a_residual_network_are_its_stem_and_its_layers_from_the_input_on():
    network = models.resnet18()

    stages = stages_of(network)

    parts = [[network.conv1, network.bn1], [network.layer1], [network.layer2], [network.layer3], [network.layer4]]
    expected = [[id(weight) for part in stage for weight in part.parameters()] for stage in parts]
    assert [[id(weight) for weight in stage] for stage in stages] == expected


def test_without_its_head_a_network_gives_what_the_head_takes_and_has_it_back_afterwards():
    network = models.resnet18().eval()
    x = torch.randn(2, 3, 32, 32)
    logits = network(x)

    with without_head(network) as encoder:
        features = encoder(x)
        width = feature_width(encoder, x)

    assert features.shape == (2, width) == (2, 512)
    assert torch.equal(network.fc(features), logits) and torch.equal(network(x), logits)


# Which epoch trains what


@pytest.mark.parametrize(
    ("asked", "stages"),
    [
        ({}, [3, 3, 3, 3, 3, 3]),
        ({"freeze": "backbone"}, [0, 0, 0, 0, 0, 0]),
        ({"head_epochs": 2}, [0, 0, 3, 3, 3, 3]),
        ({"head_epochs": 1, "unfreeze": "gradual"}, [0, 1, 2, 3, 3, 3]),
        ({"head_epochs": 1, "unfreeze": "gradual", "stage_epochs": 2}, [0, 1, 1, 2, 2, 3]),
    ],
    ids=["all", "frozen", "head first", "gradual", "slowly"],
)
def test_the_frozen_part_follows_from_the_epoch_alone(asked, stages):
    network = network_of().train()
    prepare = freezing(network, Finetune(**asked))
    parts = stages_of(network)

    for epoch in (3, 0, 5, 1, 2, 4):  # whatever came before
        network.train()
        prepare(epoch)

        trained = [all(weight.requires_grad for weight in part) for part in parts]
        assert trained == [False] * (3 - stages[epoch]) + [True] * stages[epoch]
        assert all(weight.requires_grad for weight in head_parameters(network))
        norms = [module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms == trained, "frozen features keep their statistics"


def test_all_stages_of_a_gradual_unfreezing_need_their_epochs():
    finetune = Finetune(head_epochs=2, unfreeze="gradual", stage_epochs=3)

    finetune.check_stages(5, 15)
    with pytest.raises(
        ValueError, match="gradual requires 15 epochs for the 5 stages of this network, but epochs is 14"
    ):
        finetune.check_stages(5, 14)
    Finetune(head_epochs=2).check_stages(5, 3)


# Training


@pytest.fixture
def weights(tmp_path) -> Path:
    """The file of a small network that has learned something."""
    data = tiny_data(rows=60)
    params = NetParams.model_validate({"arch": CNN, "epochs": 2, "lr": 0.05})
    net = Net(params, signature=data.signature, n_classes=3).fit(data, data, PlainRun(seed=5))
    assert net.network is not None
    save_file(net.network.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


class Watch(PlainRun):
    """Keeps the weights of the network at the end of each epoch."""

    def report(self, metrics, state, so_far=None):
        if metrics is not None:
            self.seen.append({name: tensor.clone() for name, tensor in state()["network"].items()})
        return super().report(metrics, state)


def fit(weights: Path, finetune: dict, **params) -> tuple[Net, list[dict[str, torch.Tensor]]]:
    """A network after each epoch, the file's weights first."""
    data = tiny_data(rows=60)
    asked = {"arch": CNN, "epochs": 4, "lr": 0.05, "weight_decay": 0.1, "weights": weights, "finetune": finetune}
    run = Watch(numerics=Numerics(batch_size=params.get("batch_size", 32)))
    run.seen = []
    net = Net(NetParams.model_validate({**asked, **params}), signature=data.signature, n_classes=3)
    net.fit(data, data, run)
    return net, [read_weights(weights), *run.seen]


STAGES = [("0.", "1."), ("4.", "5."), ("8.", "9."), ("14.",)]
"""Convolution and normalization of the three stages, and the head, in the names of `small_cnn`."""


def moved(seen: list[dict[str, torch.Tensor]]) -> list[list[bool]]:
    """For each epoch, whether anything of each part has changed, statistics included."""
    return [
        [
            any(
                not torch.equal(before[name], after[name])
                for name in before
                if name.startswith(part) and "batches" not in name
            )
            for part in STAGES
        ]
        for before, after in itertools.pairwise(seen)
    ]


@pytest.mark.parametrize(
    ("finetune", "expected"),
    [
        ({"freeze": "backbone"}, [[0, 0, 0, 1]] * 4),
        ({"head_epochs": 2}, [[0, 0, 0, 1]] * 2 + [[1, 1, 1, 1]] * 2),
        ({"head_epochs": 1, "unfreeze": "gradual"}, [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]),
    ],
    ids=["frozen", "head first", "gradual"],
)
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_frozen_weights_move_neither_by_decay_nor_by_momentum(finetune, expected, schedule, weights):
    _, seen = fit(weights, finetune, schedule=schedule)

    assert moved(seen) == [[bool(part) for part in parts] for parts in expected]


def test_a_frozen_backbone_with_a_new_head_is_a_logistic_regression_on_its_features(weights):
    # given: the features of the file's network, standardized as the member does
    net, _ = fit(weights, {"freeze": "backbone"}, epochs=60, weight_decay=0)
    data = tiny_data(rows=60)
    assert net.network is not None
    with without_head(net.network) as encoder, torch.inference_mode():
        features = torch.cat(list(map(encoder.eval(), net._feed(data.x).batches(60))))

    # when: full batches of gradient descent from zero, a convex problem
    head = nn.Linear(features.shape[1], 3)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200)
    y = torch.from_numpy(data.y)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(features.clone()), y)
        loss.backward()
        return loss

    optimizer.step(closure)

    # then
    best = nn.functional.cross_entropy(head(features.clone()), y).item()
    assert best - 1e-3 <= net.history[-1]["valid_loss"] < 0.1


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_the_backbone_of_a_library_stays_as_its_file_has_it(name, tmp_path):
    torch.manual_seed(3)
    arch = {"timm": "timm/test_resnet", "torchvision": "torchvision/shufflenet_v2_x0_5"}[name]
    given = (timm.create_model("test_resnet") if name == "timm" else models.shufflenet_v2_x0_5()).state_dict()
    save_file(given, tmp_path / "w.safetensors")
    data = tiny_data(shape=(8, 8, 3))
    asked = {"arch": arch, "size": 32, "epochs": 2, "lr": 0.1, "dropout": 0.2, "finetune": {"freeze": "backbone"}}
    params = NetParams.model_validate({**asked, "weights": tmp_path / "w.safetensors"})

    net = Net(params, signature=data.signature, n_classes=3).fit(data, data, PlainRun())

    assert net.network is not None
    for key, tensor in net.network.state_dict().items():
        if not key.startswith("fc."):
            torch.testing.assert_close(tensor, given[key], atol=0, rtol=0, msg=key)


# Rates


def test_the_backbone_has_a_tenth_of_the_learning_rate_under_every_schedule():
    network = network_of()

    groups = slower_backbone(network.parameters(), network, lr=0.5, factor=0.1)
    optimizer = torch.optim.SGD(groups, lr=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], total_steps=9)

    assert [len(group["params"]) for group in groups] == [2, len(list(network.parameters())) - 2]
    for _ in range(8):
        optimizer.step()
        head, backbone = (group["lr"] for group in optimizer.param_groups)
        assert backbone == pytest.approx(head / 10)
        schedule.step()


def test_groups_of_other_options_are_split_and_keep_them():
    network = network_of()
    plain = [weight for weight in network.parameters() if weight.ndim < 2]
    groups = [
        {"params": plain, "weight_decay": 0.0},
        {"params": [weight for weight in network.parameters() if weight.ndim > 1], "lr": 0.2},
    ]

    split = slower_backbone(groups, network, lr=0.5, factor=0.1)

    assert [(len(group["params"]), group["lr"], group.get("weight_decay")) for group in split] == [
        (1, 0.5, 0.0),
        (1, 0.2, None),
        (len(plain) - 1, pytest.approx(0.05), 0.0),
        (3, pytest.approx(0.02), None),
    ]


def test_the_member_s_first_step_below_the_head_is_smaller_by_the_factor(weights):
    """One batch of plain gradient descent: the steps are the gradients times the rates."""
    steps = []
    for factor in (1, 0.25):
        asked = {"epochs": 1, "batch_size": 64, "optimizer": {"kind": "sgd", "momentum": 0}, "weight_decay": 0}
        _, (before, after) = fit(weights, {"backbone_lr": factor}, **asked)
        steps.append({name: after[name] - before[name] for name in before if name.endswith("weight")})

    for name, whole in steps[0].items():
        ratio = 1 if name.startswith("14.") else 0.25
        torch.testing.assert_close(steps[1][name], whole * ratio, atol=1e-7, rtol=1e-3)


# Starting from a file, and going on


def test_a_head_of_other_classes_stays_fresh_in_built_in_networks_too():
    given, network = network_of("small_resnet").state_dict(), network_of("small_resnet")
    given["9.weight"], given["9.bias"] = torch.zeros(7, 64), torch.zeros(7)
    own = network.state_dict()["9.weight"].clone()

    load_weights(network, given, source="w.pth", arch="small_resnet")

    found = network.state_dict()
    assert torch.equal(found["9.weight"], own)
    assert all(torch.equal(found[name], given[name]) for name in given if not name.startswith("9."))
    del given["0.weight"]
    with pytest.raises(WeightsError, match=r"w\.pth does not fit small_resnet: (.|\n)*0\.weight"):
        load_weights(network, given, source="w.pth", arch="small_resnet")


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("timm/test_efficientnet", lambda: timm.create_model("test_efficientnet")),
        ("torchvision/efficientnet_b0", models.efficientnet_b0),
    ],
)
def test_a_fresh_head_is_drawn_for_its_inputs_and_one_of_the_same_classes_is_kept(name, build):
    torch.manual_seed(0)
    given, kind = build().state_dict(), ARCHS.get(name)
    asked = {"shape": (64, 64, 3), "dropout": 0.0, "weights": given}

    few = kind.pretrained(kind.Params(kind=name), n_classes=5, **asked)
    all_of_them = kind.pretrained(kind.Params(kind=name), n_classes=1000, **asked)

    layer = few.get_submodule(head_names(few)[0])
    # torch's nn.Linear: uniform within 1 / sqrt(inputs), where these families take 1 / sqrt(outputs)
    assert layer.weight.std().item() == pytest.approx((3 * layer.in_features) ** -0.5, rel=0.05)
    assert torch.equal(all_of_them.get_submodule(head_names(all_of_them)[0]).weight, list(given.values())[-2])


@pytest.mark.parametrize("report", [1, 2, 3, 4, 5, 6, 7])
def test_a_stopped_fine_tuning_resumes_to_the_same_bits(report, weights):
    asked = {
        "arch": CNN, "epochs": 4, "lr": 0.05, "batch_size": 32, "schedule": "one_cycle", "weights": weights,
        "finetune": {"head_epochs": 1, "unfreeze": "gradual"}, "dropout": 0.3,
    }  # fmt: skip
    data, params = tiny_data(rows=60), NetParams.model_validate(asked)

    def trained(run: PlainRun) -> Net:
        run.numerics = Numerics(batch_size=32)
        return Net(params, signature=data.signature, n_classes=3).fit(data, data, run)

    undisturbed, run = trained(PlainRun()), PlainRun(answers={report: Signal.STOP})
    trained(run)
    torch.manual_seed(report)
    resumed = trained(run.resumed(report))

    assert undisturbed.network is not None and resumed.network is not None
    expected = undisturbed.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
