"""The rules: the plan uses the budget without exceeding it, and every file that they can write is a valid job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.tiny import TINY_COLUMNS

from quorate.autoconfig.fingerprint import ColumnFacts, Fingerprint, ImageFacts, Range, Repeats, TableFacts
from quorate.autoconfig.job_file import CommentedEntry, as_yaml, flow
from quorate.autoconfig.job_text import job_text
from quorate.autoconfig.rules import JobChoices, choose
from quorate.autoconfig.selection import Machine
from quorate.autoconfig.source import DataLocation
from quorate.data.signature import Column
from quorate.plan.portfolio import portfolio
from quorate.spec import JobSpec, validate
from quorate.spec import file as jobfile

TWO_CORES = Machine(2)
NONE = Repeats(0, 0, 0)


def images(tmp_path: Path, *, rows: int, side: int, channels: int = 3, classes: int = 5) -> Fingerprint:
    """Pictures in a folder, with the same number for each class."""
    size = Range(side, side, side)
    facts = ImageFacts(size, size, size, channels, grey=0.0, files=rows)
    counts = {f"class {k}": rows // classes for k in range(classes)}
    return Fingerprint(DataLocation("image_folder", tmp_path), counts, None, 1, NONE, facts)


def table(tmp_path: Path, *, rows: int, counts: dict[str, int] | None = None) -> Fingerprint:
    kinds = [Column("a", "numeric"), Column("b", "categorical"), Column("c", "boolean")]
    columns = tuple(ColumnFacts(column.name, column.kind, 0.0, 10) for column in kinds)
    classes = counts or {"no": rows // 2, "yes": rows // 2}
    return Fingerprint(DataLocation("csv", tmp_path), classes, None, 1, NONE, TableFacts("y", "", columns))


def chosen(
    fingerprint: Fingerprint, *, seconds: float = 1800, machine: Machine = TWO_CORES, hub: bool = False
) -> JobChoices:
    return choose(fingerprint, machine, seconds, hub=hub)


def spec_of(fingerprint: Fingerprint, choices: JobChoices, base: Path, *, hub: bool = False) -> JobSpec:
    text = job_text(fingerprint, choices, base=base, budget="30m", hub=hub)
    return validate(jobfile.parse(text, name="job.yaml"), base=base).spec


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("seconds", [60, 300, 1800, 36_000])
@pytest.mark.parametrize(("rows", "side"), [(60, 12), (3000, 28), (3000, 160), (60_000, 32), (200_000, 256)])
def test_every_choice_for_images_is_a_valid_job(
    tmp_path: Path, rows: int, side: int, seconds: float, hub: bool
) -> None:
    fingerprint = images(tmp_path, rows=rows, side=side)

    choices = chosen(fingerprint, seconds=seconds, hub=hub)

    spec = spec_of(fingerprint, choices, tmp_path, hub=hub)
    assert len(spec.members) == len(choices.selection.members) >= 1
    assert spec.data.size <= side
    if choices.selection.complete:
        assert choices.selection.seconds <= seconds
        pretrained = any(getattr(member, "weights", None) == "hub" for member in spec.members.values())
        assert pretrained == (hub and side >= 64)


@pytest.mark.parametrize("seconds", [30, 300, 1800])
@pytest.mark.parametrize("rows", [40, 1000, 30_000, 2_000_000])
def test_every_choice_for_tables_is_a_valid_job(tmp_path: Path, rows: int, seconds: float) -> None:
    fingerprint = table(tmp_path, rows=rows)

    choices = chosen(fingerprint, seconds=seconds)

    spec = spec_of(fingerprint, choices, tmp_path)
    kinds = {member.kind for member in spec.members.values()}
    assert portfolio(TINY_COLUMNS, rows)[0].name in spec.members or not choices.selection.complete
    assert spec.grow
    assert "svm" not in kinds or rows < 5000
    assert spec.validation.scheme == ("kfold" if rows < 100_000 else "holdout") or seconds < 1800


def test_a_longer_budget_gives_more_training_and_a_short_one_still_gives_a_job(tmp_path: Path) -> None:
    fingerprint = images(tmp_path, rows=3000, side=160)

    jobs = [chosen(fingerprint, seconds=seconds) for seconds in (20, 300, 1800, 7200)]

    assert [sum(job.selection.fits) for job in jobs] == sorted(sum(job.selection.fits) for job in jobs)
    assert not jobs[0].selection.complete
    assert len(jobs[0].selection.members) == 1
    sizes = [job.size for job in jobs[1:]]
    assert sizes == sorted(sizes), "larger images where there is time"


def test_only_networks_request_a_gpu(tmp_path: Path) -> None:
    choices = chosen(images(tmp_path, rows=3000, side=28), machine=Machine(8, gpus=1))

    gpus = {one.name: one.params.get("gpus", 0) for one in choices.selection.members}

    assert gpus["cnn"] == 1
    assert gpus["forest"] == 0


@pytest.mark.parametrize(("rarest", "folds"), [(2, 2), (3, 3), (4, 4), (7, 5)])
def test_there_are_no_more_folds_than_rows_of_the_rarest_class(tmp_path: Path, rarest: int, folds: int) -> None:
    choices = chosen(table(tmp_path, rows=300, counts={"no": 290, "yes": rarest}))

    assert choices.validation.folds == folds
    assert not choices.held_out, "the rarest class has too few rows for a test"
    svm = "svm" in {one.params["kind"] for one in choices.selection.members}
    assert svm == (rarest > 2), "of two rows one would be left in each fold, and its calibration needs two"


def test_imbalanced_classes_get_advice_and_no_class_weights(tmp_path: Path) -> None:
    fingerprint = table(tmp_path, rows=1000, counts={"no": 970, "yes": 30})
    choices = chosen(fingerprint)

    text = job_text(fingerprint, choices, base=tmp_path, budget="30m", hub=False)

    assert "The largest class has 32 times as many rows as the smallest" in text
    assert "class_weight: balanced" in " ".join(text.split("#"))
    assert not any(
        getattr(member, "class_weight", None) for member in spec_of(fingerprint, choices, tmp_path).members.values()
    )


def test_only_large_pictures_with_colour_are_mirrored(tmp_path: Path) -> None:
    def mirrored(**what: int) -> bool:
        members = chosen(images(tmp_path, rows=2000, **what)).selection.members
        return any(one.params.get("augment", {}).get("mirror", False) for one in members)

    assert mirrored(side=128, channels=3)
    assert not mirrored(side=128, channels=1)
    assert not mirrored(side=32, channels=3)


def test_the_commented_line_with_pretrained_weights_can_be_uncommented_as_it_is(tmp_path: Path) -> None:
    fingerprint = images(tmp_path, rows=3000, side=160)
    text = job_text(fingerprint, chosen(fingerprint), base=tmp_path, budget="30m", hub=False)

    block = re.search(r"^  # pretrained:\n(  #   .*\n)+", text, re.MULTILINE)
    assert block
    taken = text.replace(block[0], block[0].replace("  # ", "  "))

    member = validate(jobfile.parse(taken, name="job.yaml"), base=tmp_path).spec.members["pretrained"]
    assert (member.arch.kind, member.weights) == ("timm/resnet18", "hub")


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "a b",
        "no",
        "null",
        "True",
        "1e3",
        "12",
        ".5",
        "- x",
        "a: b",
        "x # y",
        "'",
        '"',
        "",
        " x ",
        "Größe",
        "\x7f\t",
        "😀",
    ],
)
def test_every_text_is_read_back_as_it_was_written(value: str) -> None:
    text = as_yaml(
        [
            CommentedEntry("key", value, why="because"),
            CommentedEntry("all", below=(CommentedEntry(value, [value, 1.5, None, True]),)),
        ]
    )

    tree = jobfile.parse(text, name="job.yaml").tree

    assert tree == {"key": value, "all": {value: [value, 1.5, None, True]}}
    assert jobfile.parse(f"x: {flow({value: value})}", name="").tree == {"x": {value: value}}
