"""The section on the most confident mistakes, with the vote of each member."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quorate.data.dataset import Dataset, FileImages, Images, RowsOf
from quorate.data.shards import ShardedImages
from quorate.data.table import Table
from quorate.ensemble.breakdown import confident_mistakes
from quorate.ensemble.temperature_scaling import normalized_rows
from quorate.report.page.run import RunData, Split
from quorate.report.page.section import Remark, Section, act, good, many, note, percent

MOST, VOTES, SIDE = 12, 12, 168
"""Maximum number of mistakes, of votes per mistake, and of pixels on the longer side of a picture."""
VALUES = 40
"""Maximum number of values that are shown for a row of a table."""


@dataclass(frozen=True)
class MemberVote:
    """The prediction of one member for a row."""

    member: str
    named: str
    proba: float
    """Probability of the predicted class."""
    right: bool


@dataclass(frozen=True)
class Mistake:
    """A misclassified row."""

    number: int
    """Position in the data, counted from 0."""
    true: str
    predicted: str
    confidence: float
    of_true: float
    """The probability of the true class."""
    votes: tuple[MemberVote, ...]
    picture: str = ""
    """The image as a `data:` URL."""
    width: int = 0
    height: int = 0
    source: str = ""
    """Name of the file that contains the row."""
    values: tuple[tuple[str, str], ...] = ()
    """Pairs of column and value, for a row of a table."""

    @property
    def divided(self) -> bool:
        """Whether the members predict different classes."""
        return len({vote.named for vote in self.votes}) > 1


def section(run: RunData) -> Section:
    split = run.test if run.test is not None else run.oof
    places = confident_mistakes(split.ensemble, split.y, MOST)
    data = run.data.get(split.name)
    found = [_mistake(run, split, int(place), data) for place in places]
    return Section(
        "mistakes",
        "The worst mistakes",
        f"The {split.words} with the most confident wrong predictions, and the prediction of each member. If all "
        "members agree on a class that is not the label, the label may be wrong. If they disagree, a better "
        "combination or an additional member may help.",
        list(_remarks(run, split, found)),
        {"mistakes": found, "note": "" if data is not None else run.data_note, "words": split.words},
    )


def _remarks(run: RunData, split: Split, found: Sequence[Mistake]) -> Iterator[Remark]:
    wrong = split.ensemble.argmax(axis=1) != split.y
    count = int(wrong.sum())
    if not count:
        yield good(f"All {many(len(split), 'row')} are predicted correctly.")
        return
    if len(split.members) > 1:
        named = split.proba[:, wrong].argmax(axis=2)
        somebody = float((named == split.y[wrong]).any(axis=0).mean())
        low = percent(somebody, 0)
        said = f"At least one member is right in {low} of the {many(count, 'mistake')}"
        if somebody >= 0.5:
            yield note(f"{said}: a better combination of these members may help.")
        else:
            yield note(f"{said}. For the other mistakes, only other members or more data can help.")
        agreed = [each for each in found if not each.divided]
        if len(agreed) >= max(2, len(found) // 3):
            yield act(
                f"In {len(agreed)} of the {len(found)} worst mistakes, all members agree on a class that is not the "
                "label: check these labels first."
            )
    most = float(split.ensemble[wrong].max())
    if most > 0.99:
        yield note(
            f"The most confident mistake has a confidence of {percent(most)}: a threshold on the confidence cannot "
            "catch it."
        )


def _mistake(run: RunData, split: Split, place: int, data: Dataset | None) -> Mistake:
    row, names = int(split.rows[place]), run.class_names
    p = normalized_rows(split.ensemble[place : place + 1])[0]
    own = sorted(range(len(split.members)), key=lambda m: -run.weights[split.members[m]])[:VOTES]
    votes = tuple(_vote(run, split, m, place) for m in own)
    predicted, true = int(p.argmax()), int(split.y[place])
    plain = Mistake(row, names[true], names[predicted], float(p[predicted]), float(p[true]), votes)
    if data is None:
        return plain
    return _seen(plain, data, row)


def _vote(run: RunData, split: Split, member: int, place: int) -> MemberVote:
    p = normalized_rows(split.proba[member, place : place + 1])[0]
    named = int(p.argmax())
    name = run.names[split.members[member]]
    return MemberVote(name, run.class_names[named], float(p[named]), named == int(split.y[place]))


def _seen(plain: Mistake, data: Dataset, row: int) -> Mistake:
    parts = {key: getattr(plain, key) for key in ("number", "true", "predicted", "confidence", "of_true", "votes")}
    if isinstance(data.x, Table):
        return Mistake(**parts, values=tuple(_values(data.x, row)))
    pixels = data.x.take(np.array([row]))[0]
    address, width, height = as_address(pixels)
    return Mistake(**parts, picture=address, width=width, height=height, source=_source(data.x, row))


def _values(table: Table, row: int) -> Iterator[tuple[str, str]]:
    shown = table.frame.iloc[row]
    for column in table.signature.columns[:VALUES]:
        value = shown[column.name]
        if value is None or value != value:
            said = "missing"
        elif column.kind == "boolean":
            said = "true" if value else "false"
        else:
            said = f"{value:g}" if column.kind == "numeric" else str(value)
        yield column.name, said


def _source(images: Images, row: int) -> str:
    if isinstance(images, RowsOf):
        return _source(images.images, int(images.rows[row]))
    if isinstance(images, ShardedImages):
        return images.names[row]
    return images.paths[row].name if isinstance(images, FileImages) else ""


def as_address(pixels: NDArray[np.uint8]) -> tuple[str, int, int]:
    """An image (H, W, C) as a `data:` URL, and its size. Small images are lossless, large ones are scaled down."""
    channels = pixels.shape[2]
    flat = (
        pixels[:, :, :3]
        if channels >= 3
        else pixels[:, :, :1].repeat(3, axis=2)
        if channels == 1
        else (pixels.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2))
    )
    image = Image.fromarray(np.ascontiguousarray(flat), "RGB")
    if channels <= 2:
        image = image.convert("L")
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small = image.width * image.height <= 96 * 96
    if small:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=85)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", image.width, image.height
