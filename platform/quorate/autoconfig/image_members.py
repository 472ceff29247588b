"""Choose candidate members for images by the size and the number of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quorate.autoconfig.fingerprint import ImageFacts
from quorate.autoconfig.frozen_networks import FrozenNetwork
from quorate.autoconfig.selection import MemberCandidate
from quorate.data.signature import ImageSignature
from quorate.plan.portfolio import batch_size

LARGE = 64
"""Minimum length of the shorter side, in pixels, for images to count as large. Large colour images count as
photographs. An assumption, not a measurement."""
FLAT = 4096
"""Maximum number of values per image for members that use each pixel value as a feature. An assumption, not a
measurement."""
SVM_ROWS = 20_000
"""An SVM is used only below this number of rows, because its cost is quadratic in the number of rows. An assumption,
not a measurement."""
KNN_ROWS = 10_000
"""Nearest neighbours are used only below this number of rows, because each prediction compares an image with all
training rows. An assumption, not a measurement."""
FROZEN_HEAD: dict[str, Any] = {"kind": "logistic", "C": 0.003}
"""The member on the features of one frozen network; measured on flowers, see docs/backbones.md."""
JOINED_HEAD: dict[str, Any] = {"kind": "logistic", "C": 0.01}
"""The member on the features of several networks together; measured there too."""
FINETUNING: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
    "finetune": {"head_epochs": 1, "backbone_lr": 0.5},
    "label_smoothing": 0.1,
}
"""How a network with ImageNet weights is fine-tuned on a few thousand photographs: the recipe of
`pipelines/flowers.yaml`, whose rates were chosen on the validation rows of one fold."""
_STEPS = 600_000
"""Total number of training images, over all epochs, for a network trained from scratch. An assumption, not a
measurement."""


def are_large(facts: ImageFacts) -> bool:
    return facts.short.median >= LARGE


def are_photographs(facts: ImageFacts) -> bool:
    """Whether the images are probably photographs, judged by size and colour, so that mirroring does not change their
    class."""
    return are_large(facts) and facts.channels == 3


def image_candidates(
    facts: ImageFacts,
    signature: ImageSignature,
    *,
    rows: int,
    twice: bool,
    hub: bool,
    frozen: Sequence[FrozenNetwork] = (),
) -> tuple[MemberCandidate, ...]:
    """Candidates for `rows` training rows, most useful first.

    `twice` is true if each class has at least two training rows in every fold, `hub` if weights can be downloaded.
    `frozen` are pretrained networks whose weights are known, best first; with them, no network starts from scratch.
    """
    augment = augmentation(facts, signature)
    if frozen:
        return tuple(_from_weights(frozen, signature, rows, augment))
    if are_large(facts):
        return tuple(_for_large_images(signature, rows, augment, hub))
    candidates = list(_for_small_images(signature, rows, augment))
    if signature.size <= FLAT:
        candidates += _on_pixels(rows, twice)
    order = ("resnet", "cnn", "svm", "forest", "logistic", "extra_trees", "mlp", "knn")
    return tuple(sorted(candidates, key=lambda candidate: order.index(candidate.name)))


def wanted_epochs(rows: int) -> tuple[int, int]:
    """Minimum and desired number of epochs of a network trained from scratch; more rows need fewer epochs."""
    wanted = min(40, max(10, round(_STEPS / rows)))
    return max(2, wanted // 4), wanted


def pretrained(signature: ImageSignature, augment: dict[str, Any]) -> dict[str, Any]:
    """A backbone that starts from downloaded weights."""
    size = {} if min(signature.shape[:2]) >= 128 else {"size": 128}
    return {
        "kind": "net",
        "arch": "timm/resnet18",
        "weights": "hub",
        **size,
        "epochs": 8,
        "schedule": "one_cycle",
        "lr": 0.01,
        "augment": augment,
    }


def augmentation(facts: ImageFacts, signature: ImageSignature) -> dict[str, Any]:
    crop = max(1, round(min(signature.shape[:2]) / 16))
    return {"mirror": True, "crop": crop} if are_photographs(facts) or facts.keeps_mirrored else {"crop": crop}


def _both_views(augment: dict[str, Any]) -> dict[str, Any]:
    """Predict an image and its mirror image, if mirroring does not change the class."""
    return {"tta": {"augment": {"mirror": True}, "passes": 2}} if "mirror" in augment else {}


def _from_weights(
    frozen: Sequence[FrozenNetwork], signature: ImageSignature, rows: int, augment: dict[str, Any]
) -> Iterator[MemberCandidate]:
    """Heads on the frozen features of the networks, and the best network fine-tuned if there is time for it."""
    if len(frozen) > 1:
        joined = {"kind": "joined", "of": [one.features for one in frozen]}
        about = "the features of all networks together"
        yield MemberCandidate("logistic-joined", about, ({**JOINED_HEAD, "features": joined},), core=True)
    for one in frozen:
        about = f"frozen {one.sampled.name}: probe NLL {one.sampled.probe_nll:.3f} on a sample"
        form = {**FROZEN_HEAD, "features": one.features}
        yield MemberCandidate(f"logistic-{one.sampled.name}", about, (form,), core=len(frozen) == 1)
    best, side = frozen[0].sampled, min(signature.shape[:2])
    backbone = best.found.backbone
    start = {"kind": "net", "arch": backbone.arch, "weights": str(backbone.weights)}
    tuned = {**start, **FINETUNING, **batch_size(rows), **_both_views(augment)}
    least = (best.trained_side or side) // 2
    sides = [size for size in (224, 160, 128, 112, 96, 64) if least <= size <= side] or [side]
    forms = tuple({**tuned, "augment": augment} | ({"size": size} if size < side else {}) for size in sides)
    why = f"{best.name}, the best of the networks, fine-tuned"
    # with (2, 6), it is planned with three epochs at least: only core members get the minimum
    yield MemberCandidate(f"tuned-{best.name}", why, forms, epochs=(2, 6), copies=2)


def _for_large_images(
    signature: ImageSignature, rows: int, augment: dict[str, Any], hub: bool
) -> Iterator[MemberCandidate]:
    few, many = wanted_epochs(rows)
    own = {**batch_size(rows), "schedule": "one_cycle"}
    side = min(signature.shape[:2])
    if hub:
        weights = pretrained(signature, augment)
        for name, arch in (("resnet18", "timm/resnet18"), ("mobilenet", "timm/mobilenetv3_large_100")):
            form = {**weights, "arch": arch, **batch_size(rows)}
            why = "starts from ImageNet weights, downloaded when training starts"
            yield MemberCandidate(name, why, (form,), epochs=(2, 8), copies=2, core=name == "resnet18")
    rates: list[tuple[Any, float]] = [("timm/resnet18", 0.05), ("timm/resnet10t", 0.05)]
    if side <= LARGE:  # too expensive for larger images: these networks downsample late
        rates += [({"kind": "small_resnet", "width": width}, 0.1) for width in (16, 8)]
    forms = tuple({"kind": "net", "arch": arch, **own, "lr": lr, "augment": augment} for arch, lr in rates)
    why = "residual network trained from scratch, the largest that leaves time for other members"
    yield MemberCandidate("resnet", why, forms, epochs=(few, many), copies=3, core=not hub)
    small = {"size": 64} if side > 64 else {}
    forms = tuple(
        {"kind": "net", "arch": _cnn(width), **small, **own, "lr": 0.05, "dropout": 0.2, "augment": augment}
        for width in (32, 16, 8)
    )
    yield MemberCandidate(
        "cnn", "another architecture makes different mistakes", forms, epochs=(few, many), copies=3, core=not hub
    )


def _for_small_images(signature: ImageSignature, rows: int, augment: dict[str, Any]) -> Iterator[MemberCandidate]:
    epochs = wanted_epochs(rows)
    own = {**batch_size(rows), "schedule": "one_cycle", "augment": augment, **_both_views(augment)}
    deep = min(signature.shape[:2]) >= 16
    resnets = ({"width": 16, "blocks": 2}, {"width": 16}, {"width": 8})
    yield MemberCandidate(
        "resnet",
        "residual blocks suit images" if deep else "residual blocks, another architecture",
        tuple(
            {"kind": "net", "arch": {"kind": "small_resnet", **params}, **own, "lr": 0.1, "weight_decay": 5e-4}
            for params in (resnets if deep else resnets[1:])
        ),
        epochs=epochs,
        copies=4,
        core=deep,
        main=deep,
    )
    yield MemberCandidate(
        "cnn",
        "another architecture" if deep else "convolutions suit images",
        tuple({"kind": "net", "arch": _cnn(width), **own, "lr": 0.05, "dropout": 0.2} for width in (32, 16, 8)),
        epochs=epochs,
        copies=3,
        core=not deep,
        main=not deep,
    )
    if signature.size <= FLAT:
        form = {"kind": "net", "arch": "mlp", **own, "lr": 0.05, "dropout": 0.2}
        yield MemberCandidate("mlp", "a network without convolutions", (form,), epochs=epochs, copies=2)


def _on_pixels(rows: int, twice: bool) -> Iterator[MemberCandidate]:
    forests = ({"trees": 300}, {"trees": 100})
    yield MemberCandidate(
        "forest", "makes other mistakes than networks", tuple({"kind": "random_forest", **form} for form in forests)
    )
    yield MemberCandidate(
        "extra_trees", "trees with random thresholds", tuple({"kind": "extra_trees", **form} for form in forests)
    )
    forms: tuple[dict[str, Any], ...] = ({"kind": "logistic", "C": "auto"}, {"kind": "logistic"})
    yield MemberCandidate("logistic", "linear, fast; its penalty is chosen on held-out training rows", forms)
    if rows < SVM_ROWS and twice:
        form = {"kind": "svm", "C": 10, "calibration": "temperature"}
        yield MemberCandidate(
            "svm", f"strong on fewer than {SVM_ROWS:,} rows; its cost is quadratic in the number of rows", (form,)
        )
    if rows < KNN_ROWS:
        yield MemberCandidate("knn", "the nearest training images vote", ({"kind": "knn"},))


def _cnn(width: int) -> Any:
    return "small_cnn" if width == 32 else {"kind": "small_cnn", "width": width}
