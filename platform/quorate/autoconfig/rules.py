"""The rules that turn a fingerprint into a job: test rows, folds, image size and members."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quorate.autoconfig.backbone_sample import SampledBackbone
from quorate.autoconfig.fingerprint import Fingerprint, ImageFacts
from quorate.autoconfig.frozen_networks import FrozenNetwork, frozen_networks
from quorate.autoconfig.image_members import are_large, image_candidates
from quorate.autoconfig.selection import (
    MAIN_PART,
    PART,
    Machine,
    MemberCandidate,
    MemberSelection,
    TrainingBudget,
    planned_seconds,
    select_members,
)
from quorate.autoconfig.table_members import table_candidates
from quorate.data.signature import Column, ImageSignature, Signature, TableSignature

TEST_ROWS, TEST_RAREST = 500, 10
"""A test set is held out only if the data have at least this number of rows, and the rarest class has at least this
number. Assumptions, not measurements."""
TEST_PART = 0.2
"""Fraction of the rows to hold out as test set. An assumption, not a measurement."""
MANY_IMAGES, MANY_ROWS = 20_000, 100_000
"""Minimum number of training rows for a single fold, for images and for tables. The number is higher for tables,
because their members train in seconds. Assumptions, not measurements."""
FOLDS, FEWER_FOLDS = 5, 3
"""Number of folds, and number of folds if the budget is short. 5 is usual (Hastie, Tibshirani and Friedman, 2009,
section 7.10.1); 3 is an assumption, not a measurement."""
HOLDOUT_ROWS = 1_000
"""Minimum number of training rows for a single holdout fold if the budget is short. An assumption, not a
measurement."""
SIZES = (224, 160, 128, 96, 64, 48, 32)
"""Possible side lengths for large images, in pixels. Most backbones were designed for 224; the smaller sides are an
assumption, not a measurement."""
FEATURES = 0.7
"""Fraction of the planned time for the features of frozen networks: the members that use them train quickly. An
assumption, not a measurement."""
IMBALANCED = 20
"""If the largest class has more than this many times the rows of the smallest, the job file suggests class weights in a
comment. An assumption, not a measurement."""


@dataclass(frozen=True)
class Validation:
    """A way to split the training rows, and the rule that chose it."""

    folds: int
    why: str
    fraction: float = 0.1
    """Fraction of the rows in the validation set of a holdout fold; used only if `folds` is 1. An assumption, not a
    measurement."""

    @property
    def part(self) -> float:
        """Fraction of the training rows that the models of one fold are trained on."""
        return 1 - self.fraction if self.folds == 1 else 1 - 1 / self.folds


@dataclass(frozen=True)
class DataChoices:
    """What the rules choose for the section `data` of the job file."""

    held_out: bool
    """Whether some of the rows are held out as test rows."""
    why_test: str
    size: int | None
    """Side length of the centre crop of picture files, in pixels; None if the data have a fixed size."""
    why_size: str


@dataclass(frozen=True)
class JobChoices(DataChoices):
    """The values that the rules choose for the job file."""

    name: str
    validation: Validation
    selection: MemberSelection


def choose(
    fingerprint: Fingerprint,
    machine: Machine,
    seconds: float,
    *,
    hub: bool,
    networks: Sequence[SampledBackbone] = (),
) -> JobChoices:
    """Choose a job for the data with an estimated duration of at most `seconds` on `machine`.

    It uses the best split and image size for which all core members fit into the time, and the main networks are
    trained to their end. If there is none, it uses a single fold, or else the best split that leaves time for the core
    members. `hub` is true if weights can be downloaded; `networks` are pretrained networks with weights, best first,
    whose members choose their own image size.
    """
    held_out, why_test = _test(fingerprint)
    left = 1 - TEST_PART if held_out else 1.0
    rows, rarest = math.ceil(fingerprint.rows * left), max(2, math.floor(fingerprint.rarest[1] * left))
    options = _options(fingerprint, rows, rarest)
    if networks:
        whole = data_choices(fingerprint).size
        options = [(split, size) for split, size in options if size == whole]
    total = fingerprint.rows + (fingerprint.test_rows or 0)
    part = MAIN_PART if networks else PART
    core_seconds = FEATURES * planned_seconds(seconds, part) * machine.cores
    frozen = frozen_networks(networks, images=total, core_seconds=core_seconds) if networks else ()
    reserved = sum(one.seconds for one in frozen) * total
    best: tuple[Validation, int | None, MemberSelection] | None = None
    usable: tuple[Validation, int | None, MemberSelection] | None = None
    for validation, size in options:
        signature = _signature(fingerprint, size)
        in_fold = max(2, int(rows * validation.part))
        n_classes = len(fingerprint.classes)
        budget = TrainingBudget(signature, in_fold, validation.folds, n_classes, machine, seconds, reserved, part)
        twice = rarest - math.ceil(rarest * (1 - validation.part)) >= 2
        candidates = _candidates(fingerprint, signature, in_fold, twice, hub, frozen)
        best = (validation, size, select_members(candidates, budget))
        if best[2].thorough:
            break
        usable = usable or (best if best[2].complete else None)
    assert best is not None
    if usable and not best[2].thorough and not (best[0].folds == 1 and best[2].complete):
        best = usable
    validation, size, selection = best
    why_size = _why_size(fingerprint, size, options)
    return JobChoices(held_out, why_test, size, why_size, _name(fingerprint), validation, selection)


def data_choices(fingerprint: Fingerprint) -> DataChoices:
    """The choices for the data alone, at the largest image size."""
    size = max((size for size in _sizes(fingerprint) if size), default=None)
    return DataChoices(*_test(fingerprint), size, _why_size(fingerprint, size, []))


def _test(fingerprint: Fingerprint) -> tuple[bool, str]:
    if fingerprint.source.test is not None:
        return False, "scored at the end; has no influence on the ensemble"
    rarest, count = fingerprint.rarest
    if fingerprint.rows < TEST_ROWS:
        return (
            False,
            f"none, because there are fewer than {TEST_ROWS} rows ({fingerprint.rows:,}); all are used for "
            "cross-validation",
        )
    if count < TEST_RAREST:
        return False, f"none, because the class {rarest} has only {count} rows, fewer than {TEST_RAREST}"
    return True, f"held out, stratified by class: at least {TEST_ROWS} rows ({fingerprint.rows:,})"


def _options(fingerprint: Fingerprint, rows: int, rarest: int) -> list[tuple[Validation, int | None]]:
    """Pairs of split and image size, best first. Halving the image size costs as much as two steps to a cheaper
    split."""
    splits = _splits(fingerprint, rows, rarest)
    sizes = _sizes(fingerprint)
    pairs = [
        (step + (2 * math.log2(max(SIZES) / size) if size else 0.0), split, size)
        for step, split in enumerate(splits)
        for size in sizes
    ]
    return [(split, size) for _, split, size in sorted(pairs, key=lambda option: option[0])]


def _splits(fingerprint: Fingerprint, rows: int, rarest: int) -> list[Validation]:
    name = fingerprint.rarest[0]
    many = MANY_IMAGES if isinstance(fingerprint.facts, ImageFacts) else MANY_ROWS
    fraction = 0.1 if rows >= 5000 else 0.2
    if rows >= many and rarest >= 2:
        return [Validation(1, f"one fold is enough for at least {many:,} training rows (here {rows:,})", 0.1)]
    below = f"fewer than {many:,} training rows ({rows:,}), so each row is used for validation once"
    most = min(FOLDS, rarest)
    why = below if most == FOLDS else f"the rarest class, {name}, has {rarest} training rows, and each fold needs one"
    splits = [Validation(most, why)]
    short = "more folds do not fit into the budget"
    if most > FEWER_FOLDS:
        splits.append(Validation(FEWER_FOLDS, short))
    if rows >= HOLDOUT_ROWS and rarest >= TEST_RAREST:
        splits.append(Validation(1, f"one fold: {short}", fraction))
    return splits


def _sizes(fingerprint: Fingerprint) -> list[int | None]:
    facts = fingerprint.facts
    if fingerprint.source.kind != "image_folder" or not isinstance(facts, ImageFacts):
        return [None]
    short = facts.short.median
    return [size for size in SIZES if size <= short] if are_large(facts) else [max(8, short)]


def _why_size(fingerprint: Fingerprint, size: int | None, options: list[tuple[Validation, int | None]]) -> str:
    if size is None or not isinstance(fingerprint.facts, ImageFacts):
        return ""
    short = fingerprint.facts.short.median
    if size == max((other for _, other in options if other), default=size):
        return f"the median of the shorter sides, {short} pixels"
    return f"networks on larger images do not fit into the budget; the median of the shorter sides is {short} pixels"


def _signature(fingerprint: Fingerprint, size: int | None) -> Signature:
    facts = fingerprint.facts
    if isinstance(facts, ImageFacts):
        return ImageSignature((size or facts.height.median, size or facts.width.median, facts.channels))
    return TableSignature(tuple(Column(c.name, c.kind) for c in facts.columns if c.kind and not c.ignore))


def _candidates(
    fingerprint: Fingerprint,
    signature: Signature,
    rows: int,
    twice: bool,
    hub: bool,
    frozen: Sequence[FrozenNetwork],
) -> tuple[MemberCandidate, ...]:
    facts = fingerprint.facts
    if isinstance(facts, ImageFacts):
        assert isinstance(signature, ImageSignature)
        return image_candidates(facts, signature, rows=rows, twice=twice, hub=hub, frozen=frozen)
    return table_candidates(signature, rows=rows, twice=twice)


def _name(fingerprint: Fingerprint) -> str:
    words: list[Any] = re.findall(r"[A-Za-z0-9_-]+", fingerprint.source.name)
    return "-".join(words).strip("-_") or "ensemble"
