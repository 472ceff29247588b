"""Kinds are found by name, each by importing no more than its own module."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quorate.registry import (
    ARCHS,
    AUGMENTATIONS,
    CALIBRATIONS,
    COMBINERS,
    DATASETS,
    INITIALIZATIONS,
    MEMBERS,
    OPTIMIZERS,
    PRETRAININGS,
    SCHEDULES,
    Registry,
    UnknownKind,
    did_you_mean,
)


def loaded_after(*steps: str) -> list[set[str]]:
    """Which heavy libraries a fresh Python has imported after each step."""
    heavy = ("timm", "torch", "sklearn", "ray", "mlflow")
    report = f"print(*(name for name in {heavy} if name in sys.modules))"
    script = "\n".join(["import sys", *(f"{step}\n{report}" for step in steps)])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.split("\n")[: len(steps)]]


@pytest.mark.parametrize(
    ("registry", "names"),
    [
        (ARCHS, ["mlp", "small_cnn", "small_resnet", "timm/"]),
        (AUGMENTATIONS, ["crop", "cutmix", "mirror", "mixup", "rotation", "trivialaugment"]),
        (CALIBRATIONS, ["beta", "isotonic", "none", "temperature", "vector"]),
        (COMBINERS, ["best_single", "calibrated_greedy", "mean", "weighted"]),
        (DATASETS, ["digits", "image_folder", "npz"]),
        (MEMBERS, ["logistic", "net", "random_forest", "svm"]),
        (INITIALIZATIONS, ["default", "he_normal", "orthogonal", "xavier_uniform"]),
        (OPTIMIZERS, ["adadelta", "adagrad", "adam", "adamw", "rmsprop", "sgd"]),
        (PRETRAININGS, ["autoencoder", "simclr"]),
        (SCHEDULES, ["constant", "cosine", "exponential", "inverse_time", "one_cycle", "plateau", "step"]),
    ],
    ids=lambda value: value.what if isinstance(value, Registry) else "",
)
def test_a_registry_finds_the_kinds_of_its_package(registry, names):
    assert set(names) <= set(registry.names())
    assert registry.names() == sorted(registry.names())
    for name in names:
        kind = registry.get(f"{name}resnet18" if name.endswith("/") else name)
        assert kind.__doc__ and kind.Params.model_fields["kind"], "what `quorate list` shows"


def test_a_kind_is_found_by_importing_its_own_module_only():
    registries, arch, member = loaded_after(
        "import quorate.registry, quorate.spec.file, quorate.store, quorate.cli",
        "quorate.registry.ARCHS.get('small_cnn')",
        "quorate.registry.MEMBERS.get('svm')",
    )

    assert registries == set()
    assert arch == {"torch"}
    assert member == {"torch", "sklearn"}


def test_a_family_holds_every_name_below_it():
    assert ARCHS.get("timm/resnet18") is ARCHS.get("timm/vit_tiny_patch16_224")


@pytest.mark.parametrize("name", ["timm", "timm/", "base", "learner", "../svm", "", "Svm"])
def test_an_unregistered_name_is_unknown(name):
    registry = ARCHS if name.startswith("timm") else MEMBERS

    with pytest.raises(UnknownKind, match=r"unknown .*choose from"):
        registry.get(name)


def test_an_error_for_an_unknown_name_has_the_nearest_and_all_valid_names():
    with pytest.raises(UnknownKind) as caught:
        COMBINERS.get("meen")

    assert str(caught.value).startswith(
        "unknown combiner 'meen'; did you mean 'mean'? (choose from auto, best_single, "
    )


def test_a_word_unlike_any_name_gets_no_suggestion():
    assert did_you_mean("xyz", ["mean", "weighted"]) == ""


def test_two_modules_cannot_take_the_same_name():
    # given
    registry: Registry = Registry("thing", "quorate.ensemble.combiners")
    first, second = type("First", (), {"__module__": "a"}), type("Second", (), {"__module__": "b"})
    registry.register("one")(first)

    # when, then
    with pytest.raises(ValueError, match="thing 'one' is already registered"):
        registry.register("one")(second)
    registry.register("one")(first)  # the same module, imported again
