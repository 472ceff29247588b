"""Plots of curves show every metric, every fold and the best epoch, with all members on one scale."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quorate.report.curve_findings import Curves
from quorate.report.curves import member_curves, sheet


def history(epochs: int, *, floor: float = 0.2, gradient: bool = True) -> list[dict[str, float]]:
    rows = []
    for epoch in range(epochs):
        loss = floor + 2 * 0.6**epoch
        row = {"train_loss": loss, "valid_loss": loss + 0.02 * max(0, epoch - 5), "lr": 0.1 * 0.8**epoch}
        row |= {f"{split}_accuracy": 1 - row[f"{split}_loss"] / 3 for split in ("train", "valid")}
        row |= {f"valid_{name}": 1 - loss / 3.2 for name in ("precision", "recall")}
        rows.append({**row, "seconds": 1.0, **({"grad_norm": 5 * 0.9**epoch} if gradient else {})})
    return rows


def texts(path: Path) -> str:
    """The texts of a plot, which matplotlib writes as comments next to the outlines of the letters."""
    return path.read_text(encoding="utf-8")


def test_a_member_has_every_plot_in_two_formats(tmp_path: Path) -> None:
    curves = Curves((history(12), history(12, floor=0.25)))

    png, svg = member_curves(tmp_path / "curves-cnn", "cnn", curves)

    assert (png.name, svg.name) == ("curves-cnn.png", "curves-cnn.svg")
    assert Image.open(png).size == (1100, 682)
    assert ET.parse(svg).getroot().tag.endswith("svg")
    for words in (
        "cnn  (2 fit tasks thin, their mean thick)",
        "overfitting: best epoch",
        "gradient norm",
        "learning rate",
        "seconds per epoch",
        "validation precision (macro)",
        f"best epoch {curves.best + 1} (lowest validation loss)",
    ):
        assert words in texts(svg), words


def test_unknown_metrics_have_no_panel(tmp_path: Path) -> None:
    _, svg = member_curves(tmp_path / "curves-cnn", "cnn", Curves((history(12, gradient=False),)))

    assert "gradient norm" not in texts(svg)
    assert "one fit task" in texts(svg)


def test_the_same_curves_give_the_same_files(tmp_path: Path) -> None:
    curves = Curves((history(5),))

    first = [path.read_bytes() for path in sheet(tmp_path / "a", {"cnn": curves}, ensemble=None)]
    again = [path.read_bytes() for path in sheet(tmp_path / "a", {"cnn": curves}, ensemble=None)]

    assert first == again


def test_curves_with_nan_losses_are_drawn_up_to_the_first_nan(tmp_path: Path) -> None:
    broken = history(6)
    for row in broken[3:]:
        row |= {"train_loss": float("nan"), "valid_loss": float("inf")}

    paths = member_curves(tmp_path / "curves-cnn", "cnn", Curves((broken,)))

    assert all(path.stat().st_size for path in paths)


def test_all_members_share_a_sheet_with_the_ensemble(tmp_path: Path) -> None:
    members = {"cnn": Curves((history(12),)), "stop": Curves((history(9), history(4)), restored=True)}
    members["forest"] = Curves(([{"train_loss": 0.1, "valid_loss": 0.4}],))

    png, svg = sheet(tmp_path / "curves", members, ensemble=0.123)

    for words in ("cnn: overfitting", "stop", "forest", "no epochs", "ensemble, out of fold: 0.123"):
        assert words in texts(svg), words
    assert np.asarray(Image.open(png)).std() > 10


def test_a_sheet_of_very_many_members_shows_the_best_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.report.curves.MOST", 2)
    members = {f"m{n}": Curves(([{"train_loss": 0.1, "valid_loss": 0.4 - n / 10}],)) for n in range(3)}

    _, svg = sheet(tmp_path / "curves", members, ensemble=None)

    assert "the best 2 of 3 members" in texts(svg)
    assert "<!-- m2 -->" in texts(svg)
    assert "<!-- m0 -->" not in texts(svg)
