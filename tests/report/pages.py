"""Photograph the report that docs/commands.md shows: on a desk, and on a phone in dark mode.

    quorate train pipelines/digits.yaml
    python -m tests.report.pages runs/RUN/report.html docs

Chromium must be on the PATH.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
DESK = {"width": 1440, "height": 1560}
PHONE = {"width": 390, "height": 800}
PARTS = ("", "curves", "calibration", "confusion")
"""Anchors of the parts that the phone shows, one screen each; the first is the top of the page."""
GAP = 16
"""Pixels between two screens of the phone."""


def main(report: str, docs: str) -> None:
    address = Path(report).absolute().as_uri()
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        desk = chromium.new_context(viewport=DESK, color_scheme="light").new_page()
        desk.goto(address)
        desk.screenshot(path=Path(docs) / "report-desktop.png")
        screens = [_screen(chromium, address, part) for part in PARTS]
        chromium.close()
    width, height = screens[0].size
    sheet = Image.new("RGB", (len(screens) * (width + GAP) - GAP, height), "white")
    for i, screen in enumerate(screens):
        sheet.paste(screen, (i * (width + GAP), 0))
    sheet.save(Path(docs) / "report-phone.png", optimize=True)


def _screen(chromium: Browser, address: str, part: str) -> Image.Image:
    phone = chromium.new_context(viewport=PHONE, color_scheme="dark", reduced_motion="reduce").new_page()
    phone.goto(address)
    if part:
        for _ in range(2):  # parts get their height when they come into view, which moves those below
            phone.locator(f"#{part}").evaluate("element => element.scrollIntoView({behavior: 'instant'})")
            phone.wait_for_timeout(1_000)
    return Image.open(io.BytesIO(phone.screenshot())).convert("RGB")


if __name__ == "__main__":
    main(*sys.argv[1:])
