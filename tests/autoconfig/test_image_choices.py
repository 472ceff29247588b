"""What `quorate init` chooses for images: frozen networks, their sizes, long trainings of a few networks, mirroring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from quorate.autoconfig.backbone_sample import SampledBackbone
from quorate.autoconfig.backbone_sources import FoundBackbone
from quorate.autoconfig.fingerprint import Fingerprint, ImageFacts, Range, Repeats
from quorate.autoconfig.frozen_networks import frozen_networks
from quorate.autoconfig.mirror_test import keeps_classes_mirrored
from quorate.autoconfig.rules import JobChoices, choose
from quorate.autoconfig.selection import Machine
from quorate.autoconfig.source import DataLocation
from quorate.data.signature import ImageSignature, Signature
from quorate.members.backbone import Backbone
from quorate.members.network_pace import MeasuredPace
from quorate.training.context import Hardware


def sampled(name: str, *, seconds: float, side: int = 128, trained: int | None = 224) -> SampledBackbone:
    """A network that takes `seconds` for an image of `side` pixels."""
    found = FoundBackbone(Backbone(arch=f"timm/{name}"), "the hub")
    return SampledBackbone(name, found, 0.5, 0.8, 0.8, side, seconds, trained)


def choices(seconds: float, *, pace: float = 1.0, side: int = 28, rows: int = 10_000, **facts: Any) -> JobChoices:
    size = Range(side, side, side)
    counts = {f"class {k}": rows // 10 for k in range(10)}
    given = ImageFacts(size, size, size, 1, grey=1.0, files=rows, **facts)
    fingerprint = Fingerprint(DataLocation("image_folder", Path("images")), counts, 1000, 1, Repeats(0, 0, 0), given)

    def measured(params: Mapping[str, Any], signature: Signature) -> float:
        return pace if params["kind"] == "net" else 1.0

    return choose(fingerprint, Machine(2, 0, measured), seconds, hub=False)


def test_frozen_networks_get_the_side_that_they_were_trained_on_while_there_is_time() -> None:
    ranked = [sampled("resnet18", seconds=0.01), sampled("resnet34", seconds=0.02)]
    first, second = 0.01 * (224 / 128) ** 2 * 1000, 0.02 * (224 / 128) ** 2 * 1000

    both = frozen_networks(ranked, images=1000, core_seconds=first + second + 0.1)
    short = frozen_networks(ranked, images=1000, core_seconds=first + 20.1)

    assert [(one.sampled.name, one.side) for one in both] == [("resnet18", 224), ("resnet34", 224)]
    assert [(one.sampled.name, one.side) for one in short] == [("resnet18", 224), ("resnet34", 128)]
    assert sum(one.seconds for one in short) * 1000 <= first + 20.1


def test_without_time_for_any_network_the_cheapest_is_frozen() -> None:
    ranked = [sampled("resnet34", seconds=0.02), sampled("resnet18", seconds=0.01)]

    (only,) = frozen_networks(ranked, images=10_000, core_seconds=1)

    assert (only.sampled.name, only.side) == ("resnet18", 64)


def test_a_chosen_side_is_kept() -> None:
    found = FoundBackbone(Backbone(arch="timm/resnet18", size=96), "the hub")

    (only,) = frozen_networks([SampledBackbone("a", found, 0.5, 0.8, 0.8, 96, 0.01, 224)], images=10, core_seconds=100)

    assert only.side == 96


def test_a_short_time_trains_one_network_per_core_on_one_fold_instead_of_narrow_networks_on_several() -> None:
    job = choices(300, pace=0.2)

    (network,) = job.selection.members
    assert job.validation.folds == 1
    assert (network.name, network.copies, network.params["arch"]["width"]) == ("resnet", 2, 16)
    assert network.params["epochs"] >= 10
    assert job.selection.seconds <= 300


def test_a_faster_machine_gets_more_epochs() -> None:
    slow, fast = (choices(300, pace=pace).selection.members[0].params["epochs"] for pace in (0.2, 0.15))

    assert fast > slow


def test_several_folds_are_used_if_all_networks_can_be_trained_to_their_end() -> None:
    job = choices(7200, pace=0.2)

    assert job.validation.folds == 5
    assert job.selection.members[0].params["epochs"] == 40
    assert {"resnet", "cnn", "svm"} <= {one.name for one in job.selection.members}


@pytest.mark.parametrize("mirrored", [True, False])
def test_images_are_mirrored_only_if_that_keeps_their_class(mirrored: bool) -> None:
    params = choices(300, pace=0.2, keeps_mirrored=mirrored).selection.members[0].params

    assert params["augment"].get("mirror", False) == mirrored
    assert ("tta" in params) == mirrored


def test_digits_must_not_be_mirrored_but_symmetric_images_may_be() -> None:
    digits = load_digits()
    pixels = digits.images.astype(np.uint8)[..., None]

    assert not keeps_classes_mirrored(pixels, digits.target)
    assert keeps_classes_mirrored(np.maximum(pixels, pixels[:, :, ::-1]), digits.target)


def test_the_pace_of_a_network_is_measured_once() -> None:
    pace = MeasuredPace(Hardware(cores=2, gpus=0, fast_bfloat16=False, cpu="any"))
    signature = ImageSignature((16, 16, 1))

    first = pace({"kind": "net", "arch": {"kind": "small_cnn", "width": 4}, "epochs": 3}, signature)
    again = pace({"kind": "net", "arch": {"kind": "small_cnn", "width": 4}, "epochs": 9}, signature)

    assert first == again > 0
    assert pace({"kind": "svm"}, signature) == 1.0


def photograph_choices(seconds: float) -> JobChoices:
    """The job for 3,000 photographs and two networks, on a machine as fast as estimated."""
    size, counts = Range(160, 160, 160), {f"class {k}": 600 for k in range(5)}
    facts = ImageFacts(size, size, size, 3, grey=0.0, files=3000)
    fingerprint = Fingerprint(DataLocation("image_folder", Path("photos")), counts, 600, 1, Repeats(0, 0, 0), facts)
    networks = [sampled("mobilenetv2_100", seconds=0.01), sampled("resnet18", seconds=0.02)]
    return choose(fingerprint, Machine(2, 0), seconds, hub=False, networks=networks)


def test_photographs_with_weights_get_frozen_heads_first_and_a_network_that_predicts_both_views_if_there_is_time() -> (
    None
):
    short, long = (photograph_choices(seconds).selection for seconds in (300, 3000))
    heads = {"logistic-joined": 0.01, "logistic-mobilenetv2_100": 0.003, "logistic-resnet18": 0.003}

    assert {one.name: one.params["C"] for one in short.members} == heads
    (tuned,) = (one.params for one in long.members if one.name not in heads)
    assert 3 <= tuned["epochs"] <= 6 and tuned["augment"]["mirror"]
    assert tuned["tta"] == {"augment": {"mirror": True}, "passes": 2}
    assert tuned.get("size", 160) >= 112, "half of the side that the network was trained on"


@pytest.mark.parametrize("seconds", [120, 300, 600, 1200, 3000])
def test_a_job_with_frozen_networks_is_planned_for_at_most_its_budget(seconds: int) -> None:
    assert photograph_choices(seconds).selection.seconds <= seconds
