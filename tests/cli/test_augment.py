"""`quorate augment` draws a sheet, and says what it cannot draw."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import yaml
from tests.tables import customers
from tests.tiny import tiny_data

from quorate.registry import AUGMENTATIONS
from quorate.spec import load_job
from quorate.training.augment import Augment
from quorate.training.augmented_samples import samples
from quorate.training.tta import Tta

Command = Callable[..., tuple[int, str, str]]

NET = {"kind": "net", "arch": "mlp"}
JOB = {
    "data": {"kind": "digits", "limit": 100},
    "members": {
        "cnn": {**NET, "augment": {"crop": 1, "rotation": 10}, "tta": {"augment": {"crop": 1}, "passes": 3}},
        "mixed": {**NET, "augment": {"mixup": 0.4}},
        "colourful": {**NET, "augment": {"color": True}},
        "plain": NET,
        "svm": "svm",
    },
}


@pytest.fixture
def command(tmp_path: Path, quorate_in: Command) -> Command:
    """Runs `quorate augment` on `job.yaml` in a folder of its own: exit code, output, errors."""
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    return partial(quorate_in, tmp_path, "augment")


def test_a_sheet_is_drawn_the_same_each_time(command: Command, tmp_path: Path) -> None:
    code, said, _ = command("job.yaml", "cnn", "-o", "sheet.png", "--rows", "3", "--draws", "2")
    command("job.yaml", "cnn", "-o", "again.png", "--rows", "3", "--draws", "2")
    command("job.yaml", "cnn", "-o", "large.png", "--rows", "3", "--draws", "4")

    sheet, again, large = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("sheet", "again", "large"))
    assert (code, said) == (0, "sheet.png: 3 training images with the augmentation of cnn\n")
    np.testing.assert_array_equal(sheet, again)
    assert large.shape[1] > sheet.shape[1] > 300
    assert sheet[..., :3].std() > 0.1


def test_passes_and_mixed_rows_are_drawn_too(command: Command, tmp_path: Path) -> None:
    assert command("job.yaml", "cnn", "--tta", "-o", "passes.svg", "--rows", "2")[0] == 0
    assert command("job.yaml", "mixed", "-o", "mixed.svg", "--rows", "2", "--draws", "1")[0] == 0

    assert (tmp_path / "passes.svg").read_text().count("<image") == 2 * 3
    assert (tmp_path / "mixed.svg").read_text().count("<image") == 2 * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["job.yaml", "cnm"], "the job has no member 'cnm'; did you mean 'cnn'? (choose from cnn, mixed, colourful, "),
        (
            ["job.yaml", "svm"],
            "members.svm: only networks use augmentation, and this member is of kind svm; choose cnn or mixed or ",
        ),
        (["job.yaml", "plain"], "augment is not set, so there is nothing to draw; set it, e.g. `augment: {crop: 2}`"),
        (["job.yaml", "mixed", "--tta"], "tta is not set, so there is nothing to draw; set it, e.g. `tta: {augment: "),
        (["job.yaml", "colourful"], "members.colourful: augment.color: images of one channel have no colour"),
        (
            ["job.yaml", "cnn", "-o", "sheet.bmp"],
            "cannot draw sheet.bmp; the file name must end with one of .png, .jpg, .pdf, .svg",
        ),
        (["job.yaml", "cnn", "-o", "nowhere/sheet.png"], "cannot write nowhere/sheet.png: No such file"),
        (
            ["job.yaml", "cnn", "--set", "members.cnn.augment.crop=9"],
            "augment.crop: shifts of 9 pixels can move the whole image out",
        ),
        (["none.yaml", "cnn"], "none.yaml"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_ends_with_code_2_and_a_message(
    command: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, _, said = command(*arguments)

    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*.png"))


def test_tables_have_no_sheet(command: Command, tmp_path: Path) -> None:
    customers(60, seed=0).to_csv(tmp_path / "train.csv", index=False)
    job = {"data": {"kind": "csv", "train": "train.csv", "label": "bought"}, "members": {"cnn": JOB["members"]["cnn"]}}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(job))

    code, _, said = command("table.yaml", "cnn")

    assert code == 2
    assert "augmentation requires images; the training data are tables of " in said


def test_a_sheet_takes_the_classes_in_turn_and_its_first_column_has_the_originals() -> None:
    data = tiny_data(rows=40, classes=3)

    drawn = samples(data, Augment(crop=2), rows=7, draws=2, size=None, seed=0)

    assert drawn.y.tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_allclose(drawn.columns[0], data.x.take(np.arange(7)) / 255, atol=1e-6)
    assert len(drawn.columns) == 3 and not np.array_equal(drawn.columns[1], drawn.columns[2])


def test_shares_are_given_for_mixed_rows_only() -> None:
    data = tiny_data(rows=40, classes=3)

    mixed = samples(data, Augment(mixup=0.4), rows=6, draws=1, size=16, seed=0)
    passes = samples(data, Tta(augment=Augment(crop=1), passes=4), rows=2, draws=2, size=None, seed=0)

    assert mixed.columns[1].shape == (6, 16, 16, 1)
    assert mixed.shares[0] is None and mixed.shares[1] is not None
    np.testing.assert_allclose(mixed.shares[1].sum(axis=1), 1, atol=1e-6)
    assert len(passes.columns) == 3 and passes.shares == (None,) * 3


GUIDE = Path(__file__).parents[2] / "docs" / "training" / "augmentation.md"


@pytest.mark.parametrize("fragment", re.findall(r"```yaml fragment\n(.*?)```", GUIDE.read_text(), re.DOTALL))
def test_every_example_of_the_guide_loads(fragment: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f"data: digits\n{fragment}", encoding="utf-8")

    (member,) = load_job(path).spec.members.values()

    assert member.augment or member.tta


def test_the_guide_and_its_picture_name_every_augmentation() -> None:
    text = GUIDE.read_text(encoding="utf-8")

    assert all(f"| `{name}` |" in text for name in AUGMENTATIONS.names())
    assert (GUIDE.parents[1] / "augment.png").stat().st_size < 300_000
