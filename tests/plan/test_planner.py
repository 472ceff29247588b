"""The key of a fit task depends on everything that determines its result, and on nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.tiny import alone, plan_of, spec_of, tiny_data, tiny_table, two_folds

from quorate.data import features
from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.folds import Fold, Folds
from quorate.members.backbone import Extractor, _prepared, prepare
from quorate.members.svm import Svm
from quorate.plan.identity import derive_seed, predict_key
from quorate.plan.planner import PlanError, make_plan
from quorate.plan.tasks import Plan
from quorate.registry import ARCHS, MEMBERS
from quorate.training.context import Hardware, Numerics
from quorate.training.contracts import HubWeights
from quorate.training.hub import hub_digest

NET = "{kind: net, arch: mlp, epochs: 2}"


def keys(plan) -> dict[tuple[str, int, int], str]:
    return {(task.member, task.copy, task.fold): task.key for task in plan.tasks}


def key(member: str, **rest) -> str:
    return plan_of(f"{{m: {member}}}", **rest).tasks[0].key


def test_a_plan_holds_every_member_copy_and_fold_once():
    plan = plan_of(f"{{b: {{kind: svm, copies: 2}}, a: {NET}}}")

    assert [(task.label, task.fold) for task in plan.tasks] == [
        (label, fold) for label in ("b.1", "b.2", "a") for fold in (0, 1)
    ]
    assert plan.labels == ("b.1", "b.2", "a")
    assert [task.fold for task in plan.of("b.2")] == [0, 1]
    assert len({task.key for task in plan.tasks}) == len({task.seed for task in plan.tasks}) == 6
    assert str(plan.tasks[3]) == "member b, copy 2, fold 2"


def test_neither_seeds_nor_keys_depend_on_the_order_of_members():
    forth, back = plan_of(f"{{a: svm, b: {NET}, c: logistic}}"), plan_of(f"{{c: logistic, b: {NET}, a: svm}}")

    assert keys(forth) == keys(back)
    assert {task.key: task.seed for task in forth.tasks} == {task.key: task.seed for task in back.tasks}


def test_an_additional_member_changes_no_other_member():
    before, after = keys(plan_of("{a: svm}")), keys(plan_of(f"{{new: {NET}, a: svm}}"))

    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "member",
    [
        "{kind: net, arch: mlp, epochs: 3}",
        "{kind: net, arch: {kind: mlp, hidden: [64]}, epochs: 2}",
        "{kind: net, arch: small_cnn, epochs: 2}",
        "{kind: net, arch: mlp, epochs: 2, lr: 0.02}",
        "{kind: net, arch: mlp, epochs: 2, batch_size: 16}",
        "{kind: net, arch: mlp, epochs: 2, optimizer: {kind: sgd, momentum: 0.8}}",
        "{kind: net, arch: mlp, epochs: 2, schedule: one_cycle}",
        "{kind: net, arch: mlp, epochs: 2, early_stopping: {patience: 1}}",
        "{kind: net, arch: mlp, epochs: 2, augment: {crop: 1}}",
        "{kind: net, arch: mlp, epochs: 2, augment: {rotation: 10}}",
        "{kind: net, arch: mlp, epochs: 2, tta: {augment: {mirror: true}}}",
        "{kind: net, arch: mlp, epochs: 2, precision: bfloat16}",
        "{kind: net, arch: mlp, epochs: 2, cpus: 2}",
        "{kind: svm}",
    ],
)
def test_a_changed_parameter_changes_the_key(member):
    assert key(member) != key(NET)


@pytest.mark.parametrize(
    "member",
    [
        "{kind: net, arch: {kind: mlp, hidden: [256, 128]}, epochs: 2}",
        "{kind: net, arch: mlp, epochs: 2, lr: 1e-2, dropout: 0, weight_decay: 0.001}",
        "{kind: net, arch: mlp, epochs: 2, optimizer: {kind: sgd, momentum: 0.9}, schedule: constant}",
        "{kind: net, arch: mlp, epochs: 2, augment: {crop: 0}, early_stopping: ~, size: ~}",
        "{kind: net, arch: mlp, epochs: 2, memory: 2GiB}",
        "{kind: net, arch: mlp, epochs: 2, cpus: 0.5}",
        "{kind: net, arch: mlp, epochs: 2, copies: 7}",
    ],
)
def test_explicit_defaults_resources_and_copies_do_not_change_the_key(member):
    assert key(member) == key(NET)


def test_crop_and_mirror_keep_the_keys_of_their_older_form(monkeypatch):
    """Keys that were computed when these were the only augmentations, and networks had version 2."""
    monkeypatch.setattr(MEMBERS.get("net"), "version", 2)
    before = {
        "{mirror: true, crop: 2}": "67b4c25c61fedc26278a07194a91a2caf0ed47dd7f356ac4d86364512f6b9175",
        "{crop: 2, mirror: true}": "67b4c25c61fedc26278a07194a91a2caf0ed47dd7f356ac4d86364512f6b9175",
        "{mirror: true}": "91cf464589c97a4c635cf91b4253a335e6bf3cce217405d7bf737249ff2ff81f",
        "{crop: 1, mirror: false}": "625468629538bb9141781dc3ac7ffc611aff9ad159cf8fb6099496f7330fd330",
    }

    assert {text: key(f"{{kind: net, arch: mlp, epochs: 2, augment: {text}}}") for text in before} == before


def test_the_order_and_every_parameter_of_augmentations_change_the_key():
    texts = (
        "{rotation: 10, noise: 0.1}",
        "{noise: 0.1, rotation: 10}",
        "{noise: 0.1, rotation: {degrees: 10, fill: 1}}",
        "{mirror: vertical}",
        "{crop: 1, noise: 0.1}",
        "{crop: 1}",
    )

    keys = [key(f"{{kind: net, arch: mlp, epochs: 2, augment: {text}}}") for text in texts]

    assert len({*keys, key(NET)}) == len(texts) + 1
    assert (
        key("{kind: net, arch: mlp, epochs: 2, augment: {noise: {deviation: 0.1}, rotation: {degrees: 10}}}") == keys[1]
    )


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (
            "arch: mlp, augment: {crop: 8}",
            "augment.crop: shifts of 8 pixels can move the whole image out, whose side is 8; use 1",
        ),
        ("arch: mlp, augment: {color: true}", "augment.color: images of one channel have no colour; leave it out"),
        ("arch: mlp, tta: {augment: {elastic: true}}", "tta.augment.elastic: a sigma of 4 smooths over 16 pixels"),
    ],
)
def test_augmentations_that_do_not_suit_the_images_are_refused_before_training(member, words):
    with pytest.raises(PlanError, match=re.escape(words)):
        plan_of(f"{{m: {{kind: net, {member}}}}}")


@pytest.mark.parametrize("key_of", ["augment: {noise: 0.1}", "tta: {augment: {mirror: true}}"])
def test_augmentation_of_tables_is_refused(key_of):
    with pytest.raises(PlanError, match=r"(augment|tta) works only with images, but the data are tables"):
        plan_of(f"{{m: {{kind: net, arch: mlp, {key_of}}}}}", data=tiny_table(), folds=two_folds(60))


def test_mixing_labels_of_a_single_class_is_refused():
    one = tiny_data(classes=1)

    plan_of("{m: {kind: net, arch: mlp, augment: {noise: 0.1}}}", data=one)
    with pytest.raises(PlanError, match=r"augment\.cutmix mixes labels, but there is only one class; leave it out"):
        plan_of("{m: {kind: net, arch: mlp, augment: {cutmix: 1}}}", data=one)


def test_the_name_the_seed_and_the_copy_change_the_key():
    copies = [task.key for task in plan_of(f"{{m: {{copies: 2, {NET[1:]}}}").tasks]

    assert len({*copies, key(NET, seed=1), plan_of(f"{{n: {NET}}}").tasks[0].key}) == 2 * 2 + 2
    assert copies[0] == key(NET)


def test_any_pixel_label_or_class_name_changes_the_key():
    # given
    data = tiny_data()
    pixels, y = data.x.pixels.copy(), data.y.copy()
    pixels[39, 7, 7, 0] ^= 1
    y[39] = (y[39] + 1) % 3
    changed = (
        Dataset(ArrayImages(pixels), data.y, data.class_names),
        Dataset(data.x, y, data.class_names),
        Dataset(data.x, data.y, ("a", "b", "c")),
    )

    # when, then
    assert len({key("svm"), *(key("svm", data=rows) for rows in changed)}) == 4


def test_the_rows_of_a_fold_change_its_key_and_no_other_folds():
    # given
    folds = two_folds()
    moved = Fold(folds[1].train[1:], np.sort(np.append(folds[1].valid, folds[1].train[0])))

    # when
    before, after = keys(plan_of("{m: svm}")), keys(plan_of("{m: svm}", folds=Folds((folds[0], moved), "moved")))

    # then
    assert before["m", 0, 0] == after["m", 0, 0]
    assert before["m", 0, 1] != after["m", 0, 1]


def test_test_rows_change_no_fit_task_and_have_keys_of_their_own():
    plan, other = plan_of("{m: svm}"), plan_of("{m: svm}", test=tiny_data(seed=5))
    rows, same, more = tiny_data(seed=5), tiny_data(seed=5), tiny_data(seed=6)

    assert keys(plan) == keys(other)
    fit = plan.tasks[0].key
    assert predict_key(fit, rows) == predict_key(fit, same) != predict_key(fit, more)
    assert predict_key(fit, rows) != predict_key(plan.tasks[1].key, rows)


def test_the_precision_that_the_hardware_decides_is_part_of_the_key():
    fast = Hardware(cores=2, gpus=0, fast_bfloat16=True, cpu="a CPU")
    cnn, image = "{kind: net, arch: small_cnn}", tiny_data(shape=(16, 16, 1))

    slow_plan, fast_plan = plan_of(f"{{m: {cnn}}}", data=image), plan_of(f"{{m: {cnn}}}", data=image, hardware=fast)

    assert slow_plan.tasks[0].numerics.precision == "float32"
    assert fast_plan.tasks[0].numerics.precision == "bfloat16"
    assert slow_plan.tasks[0].key != fast_plan.tasks[0].key
    assert key(NET) == key(NET, hardware=fast), "no convolutions"


def test_the_number_of_cores_of_the_node_is_no_part_of_the_key():
    many = Hardware(cores=64, gpus=0, fast_bfloat16=False, cpu="another CPU")

    assert key(NET) == key(NET, hardware=many)


def test_the_version_of_a_kind_is_part_of_the_key(monkeypatch):
    before = key("svm")
    monkeypatch.setattr(Svm, "version", Svm.version + 1)

    assert key("svm") != before
    assert MEMBERS.get("svm") is Svm


def test_a_file_counts_by_its_content_and_not_by_its_path(tmp_path):
    # given
    mlp = ARCHS.get("mlp")
    weights = mlp.build(mlp.Params(), shape=(8, 8, 1), n_classes=3, dropout=0.0).state_dict()
    for name, content in (("a", weights), ("b", weights), ("c", {**weights, "9.bias": torch.ones(3)})):
        save_file(content, tmp_path / f"{name}.safetensors")

    # when
    a, b, c = (key(f"{{kind: net, arch: mlp, weights: {name}.safetensors}}", base=tmp_path) for name in "abc")

    # then
    assert a == b != c


HUB = "{kind: net, arch: %s, size: 32, weights: hub}"


@pytest.fixture
def hub(monkeypatch) -> Iterator[dict[str, Any]]:
    """Networks without any file: what the hub gives has the seed `hub["seed"]`, or is refused with `hub["error"]`."""
    said: dict[str, Any] = {"seed": 1, "error": None}

    def pretrained(params: Any, *, shape: Any, n_classes: int, dropout: float, weights: Any) -> torch.nn.Module:
        assert weights is None, "the hub was asked for"
        if said["error"] is not None:
            raise said["error"]
        kind = ARCHS.get(params.kind)
        network = kind.build(params, shape=shape, n_classes=n_classes, dropout=dropout)
        given = torch.Generator().manual_seed(said["seed"])
        with torch.no_grad():
            next(network.parameters()).normal_(generator=given)
        return network

    there = HubWeights("https://hub/weights", Path("cache"), Path("cache/weights"))
    for name in ("timm/test_resnet", "torchvision/shufflenet_v2_x0_5"):
        monkeypatch.setattr(ARCHS.get(name), "pretrained", staticmethod(pretrained))
        monkeypatch.setattr(ARCHS.get(name), "hub_weights", staticmethod(lambda params: there))
    hub_digest.cache_clear()
    _prepared.cache_clear()
    yield said
    hub_digest.cache_clear()
    _prepared.cache_clear()


@pytest.mark.parametrize(
    "member",
    [
        HUB % "timm/test_resnet",
        HUB % "torchvision/shufflenet_v2_x0_5",
        "{kind: svm, features: {arch: timm/test_resnet, size: 32}}",
    ],
)
def test_weights_of_the_hub_count_by_their_content(hub, member):
    def planned(seed: int) -> Plan:
        hub["seed"] = seed
        hub_digest.cache_clear()
        _prepared.cache_clear()
        torch.manual_seed(seed)  # what else is drawn does not count
        return plan_of(f"{{m: {member}}}", data=tiny_data(shape=(8, 8, 3)))

    before, again, other = planned(1), planned(1), planned(2)

    for first, second, changed in zip(before.tasks, again.tasks, other.tasks, strict=True):
        assert first.key == second.key != changed.key
    for first, second, changed in zip(before.features, again.features, other.features, strict=True):
        assert first.key == second.key != changed.key


def test_a_plan_does_not_change_the_global_random_state(hub):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    plan_of(f"{{m: {HUB % 'timm/test_resnet'}}}", data=tiny_data(shape=(8, 8, 3)))

    assert torch.equal(torch.rand(3), expected)


def test_an_unreachable_hub_is_reported_when_the_job_is_planned(hub):
    hub["error"] = OSError("no route to host")

    with pytest.raises(PlanError) as caught:
        plan_of(f"{{m: {HUB % 'timm/test_resnet'}}}", data=tiny_data(shape=(8, 8, 3)))

    assert str(caught.value).startswith(
        "the weights of timm/test_resnet cannot be loaded from the hub: no route to host; download them"
    )


def test_the_plan_states_the_memory_format_of_features_and_the_worker_obeys_it(hub):
    data = tiny_data(shape=(8, 8, 3))
    plan = plan_of("{m: {kind: svm, features: {arch: timm/test_resnet, size: 32, batch_size: 16}}}", data=data)
    (task,) = plan.features

    assert task.numerics == Numerics(memory_format="channels_last", batch_size=16)

    for memory, last in (("channels_last", True), ("contiguous", False)):
        numerics = replace(task.numerics, memory_format=memory)
        extract = Extractor(task.backbone, (8, 8, 3), prepare(task.backbone, (8, 8, 3)), numerics)
        weights = [weight for weight in extract.ready[0].parameters() if weight.ndim == 4 and weight.shape[2] > 1]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) == last for weight in weights)
        assert (
            extract.identity
            != Extractor(task.backbone, (8, 8, 3), extract.weights, replace(numerics, batch_size=8)).identity
        )


def test_seeds_are_below_two_to_the_62_and_differ():
    seeds = {
        derive_seed(job, name, copy, fold) for job in (0, 1) for name in "ab" for copy in (0, 1) for fold in (0, 1)
    }

    assert len(seeds) == 16
    assert all(0 <= seed < 2**62 for seed in seeds)
    assert derive_seed(1, "a") != derive_seed("1", "a", "") != derive_seed(1, "a,")


def test_a_network_that_cannot_take_the_images_is_named():
    with pytest.raises(PlanError, match="cannot be built for images of 8x8x1: ") as caught:
        plan_of("{fine: svm, vit: {kind: net, arch: timm/vit_tiny_patch16_224}}")

    assert caught.value.member == "vit"


def test_costs_grow_with_the_parameters():
    def cost(member: str) -> float:
        return plan_of(f"{{m: {member}}}").tasks[0].cost

    assert cost("{kind: net, arch: mlp, epochs: 20}") == pytest.approx(10 * cost(NET))
    assert cost("{kind: random_forest, trees: 600}") == pytest.approx(2 * cost("{kind: random_forest, trees: 300}"))
    assert cost("svm") > 0 and cost("logistic") > 0


def test_the_resources_are_those_of_the_member():
    job = spec_of("data: digits\nmembers: {m: {kind: svm, cpus: 2, gpus: 0.5, memory: 1.5GiB}}\n")
    workstation = Hardware(cores=8, gpus=1, fast_bfloat16=False, cpu="a CPU")

    task = make_plan(job, plan_of("{m: svm}").context, alone(workstation)).tasks[0]

    assert str(task.resources) == "2 cpus, 0.5 gpus, 1.5 GiB"
    assert task.numerics.threads == 2


def test_copies_take_the_values_of_vary_in_turn_and_keep_their_place_in_the_order():
    plan = plan_of(
        "{n: {kind: net, arch: small_cnn, copies: 3, "
        "vary: {arch.width: [8, 16], optimizer.momentum: [0.5, 0.9], lr: [0.1, 0.2, 0.3]}}}"
    )

    taken = [(t.params.arch.width, t.params.optimizer.momentum, t.params.lr) for t in plan.tasks if t.fold == 0]
    assert taken == [(8, 0.5, 0.1), (16, 0.9, 0.2), (8, 0.5, 0.3)]
    assert len({task.key for task in plan.tasks}) == 6


def test_a_copy_has_the_key_of_a_member_with_the_same_values():
    varied = plan_of("{n: {kind: svm, copies: 2, vary: {C: [3, 5]}}}")
    plain = plan_of("{n: {kind: svm, copies: 2, C: 5}}")

    assert [t.key for t in varied.tasks if t.copy == 1] == [t.key for t in plain.tasks if t.copy == 1]


def test_views_have_their_own_labels_and_keys_and_are_not_run_separately():
    plan = plan_of("{n: {kind: net, arch: small_cnn, ema: 0.99, snapshots: 2, copies: 2}}")

    assert plan.labels == ("n.1", "n.1.ema", "n.1.cycle1", "n.2", "n.2.ema", "n.2.cycle1")
    assert [task.label for task in plan.runs if task.fold == 0] == ["n.1", "n.2"]
    assert [task.label for task in plan.runs[0].all] == ["n.1", "n.1.ema", "n.1.cycle1"]
    assert len({task.key for task in plan.tasks}) == len(plan.tasks) == 12
    assert len({task.seed for task in plan.runs[0].all}) == 1


def test_the_version_of_features_is_part_of_the_keys_for_tables_only(monkeypatch):
    images, table = tiny_data(), tiny_table(rows=40)
    before = [key("svm", data=data) for data in (images, table)]

    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)

    after = [key("svm", data=data) for data in (images, table)]
    assert after[0] == before[0] and after[1] != before[1]
