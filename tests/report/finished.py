"""Synthetic finished runs, to test the report page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np

from quorate.data.dataset import ArrayImages, Dataset
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.job.leaderboard import split_scores
from quorate.registry import COMBINERS
from quorate.report.curve_findings import Curves
from quorate.report.page.run import Reproduction, RunData, Split
from quorate.runs.leaderboard import (
    Leaderboard,
    LeaderboardEnsemble,
    LeaderboardMember,
    MemberStatus,
    SplitName,
    TaskCounts,
)

KINDS = ("svm", "random_forest", "net", "logistic", "knn")
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


def finished(
    *,
    members: Sequence[str] = ("svm", "forest", "cnn"),
    classes: Sequence[str] = ("cat", "dog", "eel"),
    rows: int = 240,
    test: int = 90,
    weights: Sequence[float] | None = None,
    combiner: str = "calibrated_greedy",
    sharpness: float = 2.0,
    curves: bool = True,
    status: Sequence[MemberStatus] | None = None,
    seed: int = 0,
) -> RunData:
    """Members whose accuracy grows with `sharpness`; the ensemble is their tempered mean."""
    random = np.random.default_rng(seed)
    weights = weights if weights is not None else [1 / len(members)] * len(members)
    status = status if status is not None else ["ok"] * len(members)
    oof = _split("oof", random, len(members), rows, len(classes), weights, sharpness)
    tested = _split("test", random, len(members), test, len(classes), weights, sharpness) if test else None
    board_rows = tuple(
        LeaderboardMember(
            name=name,
            kind=KINDS[m % len(KINDS)],
            status=status[m],
            folds=2,
            of_folds=2,
            weight=float(weights[m]),
            temperature=1.0 + 0.2 * m,
            fit_seconds=2.0 * (m + 1),
            oof=split_scores(oof.proba[m], oof.y),
            test=split_scores(tested.proba[m], tested.y) if tested else None,
        )
        for m, name in enumerate(members)
    )
    board = Leaderboard(
        job="made-up",
        tasks=TaskCounts(total=6, trained=6, reused=0, failed=0),
        ensemble=LeaderboardEnsemble(
            combiner=combiner,
            temperature=0.9,
            oof=split_scores(oof.ensemble, oof.y),
            test=split_scores(tested.ensemble, tested.y) if tested else None,
        ),
        members=board_rows,
        oof_sha256="0" * 64,
        run="made-up-1",
        seconds=20.0,
    )
    pixels = random.integers(0, 255, (rows, 6, 6, 1)).astype(np.uint8)
    params = COMBINERS.get(combiner).Params(kind=combiner)
    return RunData(
        board=board,
        class_names=tuple(classes),
        oof=oof,
        test=tested,
        facts=(("Run", "made-up-1"), ("Classes", str(len(classes)))),
        recipe=Reproduction("name: made-up\n", ("quorate train job.yaml",), (("seed", "0"),)),
        curves={members[-1]: _curves()} if curves else {},
        combiner=COMBINERS.get(combiner)(params),
        data={"oof": Dataset(ArrayImages(pixels), oof.y, tuple(classes))},
        data_note="The data cannot be opened again, so rows are shown by number only.",
    )


def _split(
    name: SplitName,
    random: np.random.Generator,
    members: int,
    rows: int,
    classes: int,
    weights: Sequence[float],
    sharpness: float,
) -> Split:
    y = np.arange(rows) % classes
    logits = random.normal(size=(members, rows, classes)) + 0.7 * random.normal(size=(1, rows, classes))
    logits[:, np.arange(rows), y] += sharpness * np.linspace(1.0, 0.7, members)[:, None]
    proba = np.exp(logits)
    proba = (proba / proba.sum(axis=2, keepdims=True)).astype(np.float32)
    whole = np.tensordot(np.asarray(weights) / np.sum(weights), proba.astype(np.float64), axes=1)
    whole = apply_temperature(proba=whole, temperature=fit_temperature(proba=whole, y=y))
    return Split(name, tuple(range(members)), proba, whole, y.astype(np.int64), np.arange(rows))


def _curves() -> Curves:
    losses = [1.2, 0.8, 0.6, 0.55, 0.54, 0.54]
    history = [{"train_loss": loss - 0.1, "valid_loss": loss, "valid_accuracy": 0.8} for loss in losses]
    return Curves((history, [{**epoch, "valid_loss": epoch["valid_loss"] + 0.02} for epoch in history]))


class Parsed(HTMLParser):
    """The elements of a page: counts of tags, what stands in `data-figure`s, attributes, text; tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.figures: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self._figure = ""
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._figure = dict(attrs).get("data-figure") or self._figure
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()
        self._figure = ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data
        if self._figure:
            self.figures[self._figure] = data.strip()

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for t, name, value in self.attributes if (t, name) == (tag, attribute)]


def addresses(text: str) -> set[str]:
    """Everything that a browser could load: URLs in attributes and style sheets, except those within the file."""
    found = re.findall(r"""(?:src|href|srcset|action|poster)\s*=\s*["']([^"']*)""", text)
    found += re.findall(r"url\(([^)]*)\)", text) + re.findall(r"@import[^;]*", text)
    return {each for each in found if not each.startswith(("data:", "#"))}


def said(sections: Any, id: str) -> list[str]:
    """The remarks of one section."""
    return [remark.sentence for section in sections if section.id == id for remark in section.remarks]
