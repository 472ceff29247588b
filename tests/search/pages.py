"""Photograph the report of a search, and its trials in MLflow, for docs/search.md.

    quorate tune job.yaml net
    quorate ui &
    python -m tests.search.pages runs/RUN http://127.0.0.1:5000 mlflow.db docs

with this job:

    name: digits
    data: {kind: digits}
    validation: {scheme: kfold, folds: 3}
    members:
      net:
        kind: net
        arch: {kind: mlp, hidden: [32]}
        epochs: 12
        search:
          trials: 48
          scheduler: asha
          over: both
          ensemble: 5
          space:
            lr: log_uniform(1e-4, 1)
            optimizer: [sgd, adamw]
            schedule: {constant: null, cosine: null, step: {every: "int(2, 8)", factor: "uniform(0.05, 0.8)"}}
            weight_decay: log_uniform(1e-6, 1e-2)
            dropout: uniform(0, 0.6)
            batch_size: [16, 32, 64, 128, 256]
    execution: {executor: local}

Chromium must be on the PATH.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from tests.tracking.pages import ARGUMENTS, HIDE, SETTLED, WITHOUT_ASSISTANT

from quorate.tracking.ranking import address, newest

WIDE, HIGH = 1440, 1500
PARTS = {"search-report": ("best", "importance"), "search-parallel": ("parallel", "slices")}
"""The first and the last section on each picture of the report."""


def main(run: str, server: str, database: str, docs: str) -> None:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        _report(chromium, Path(run) / "report.html", Path(docs))
        _mlflow(chromium, server, Path(run), f"sqlite:///{Path(database).absolute()}", Path(docs))
        chromium.close()


def _report(chromium: Browser, report: Path, docs: Path) -> None:
    page = chromium.new_context(viewport={"width": WIDE, "height": HIGH}, color_scheme="light").new_page()
    page.goto(report.absolute().as_uri())
    for stem, (first, last) in PARTS.items():
        boxes = [page.locator(f"#{part}").bounding_box() for part in (first, last)]
        top, bottom = boxes[0]["y"], boxes[1]["y"] + boxes[1]["height"]
        clip = {"x": boxes[0]["x"], "y": top, "width": boxes[0]["width"], "height": bottom - top}
        _save(page.screenshot(full_page=True, clip=clip), docs / f"{stem}.png")


def _mlflow(chromium: Browser, server: str, run: Path, uri: str, docs: Path) -> None:
    found = newest(run.parent, uri)
    if found is None:
        sys.exit(f"no run below {run.parent} is whole in {uri}")
    page = chromium.new_context(viewport={"width": WIDE, "height": 900}).new_page()
    page.goto(f"{server}/health")
    page.evaluate(WITHOUT_ASSISTANT)
    page.goto("about:blank")
    page.goto(address(server, found[1], found[0], charts=True))
    page.wait_for_timeout(SETTLED)
    page.add_style_tag(content=HIDE)
    _save(page.screenshot(), docs / "search-mlflow.png")


def _save(png: bytes, path: Path) -> None:
    """Save a picture with few colours, which makes it small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
