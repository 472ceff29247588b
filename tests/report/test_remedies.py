"""Advice for each kind of member names only keys of that kind, and agrees with the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from quorate.registry import MEMBERS
from quorate.report.diagnosis import Evidence, diagnose, error_rate, exactly, first_to_do
from quorate.report.remedies import MemberTraits, against_bias, against_spread, against_variance

KINDS = [name for name in MEMBERS.names() if MEMBERS.get(name).__module__.startswith("quorate.")]
WORDS = {"timm/NAME", "hub"}
JOB = {"groups", "time"}
"""Keys of a job's `data`, which is advice for every kind."""


def all_advice(recipe: MemberTraits) -> str:
    return " ".join(advise(recipe) for advise in (against_bias, against_variance, against_spread))


def keys_in(advice: str) -> set[str]:
    """The keys in backticks, those of `arch: timm/NAME` too."""
    return {part.partition(":")[0] for part in re.findall(r"`([^`]+)`", advice)}


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_advice_names_keys_of_the_kind_only(kind: str, images: bool) -> None:
    keys = keys_in(all_advice(MemberTraits(kind, {}, images)))

    assert keys <= set(MEMBERS.get(kind).Params.model_fields) | JOB
    assert keys - JOB, "each built-in kind has advice of its own"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "net"])
def test_augmentation_and_dropout_are_advised_for_networks_only(kind: str) -> None:
    advice = all_advice(MemberTraits(kind, {}, images=True))

    assert not re.search("augment|dropout|weight_decay|epochs", advice)


def test_no_advice_recommends_class_weights() -> None:
    """docs/data.md: without a reason to prefer recall over log-loss, leave class weights out."""
    assert "class_weight" not in " ".join(all_advice(MemberTraits(kind, {}, True)) for kind in ["", *KINDS])
    page = Path(__file__).parents[2] / "platform" / "quorate" / "report"
    assert not [path for path in page.rglob("*.py") if "class_weight: balanced" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("params", "images", "pretrained", "augmented"),
    [
        ({}, True, True, True),
        ({"weights": "hub", "augment": {"crop": 2}}, True, False, True),
        ({}, False, False, False),
    ],
)
def test_networks_on_images_are_offered_pretrained_weights_and_augmentation(
    params: dict[str, Any], images: bool, pretrained: bool, augmented: bool
) -> None:
    advice = against_variance(MemberTraits("net", params, images))

    assert ("`weights: hub`" in advice) == pretrained
    assert ("`augment`" in advice) == augmented


def test_a_users_own_kind_gets_general_advice() -> None:
    assert keys_in(all_advice(MemberTraits("my_package:forest", {}, True))) <= JOB


def test_a_diagnosis_gives_the_advice_of_the_member() -> None:
    known = Evidence(
        "trees",
        "error",
        exactly(0.0),
        train=error_rate(0, 1000),
        valid=error_rate(150, 1000),
        recipe=MemberTraits("random_forest"),
    )

    first = first_to_do(diagnose(known))

    assert first is not None and first.rule == "variance"
    assert "`min_samples_leaf`" in first.advice
