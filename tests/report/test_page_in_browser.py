"""The report of a real run in Chromium: on a desk and on a phone, in light and in dark, by mouse and by keyboard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs import NET, Here
from tests.report.finished import finished
from tests.report.searched import data_of, searched

from quorate.report.page.page import page as written
from quorate.report.search_page.page import search_page

pytestmark = pytest.mark.browser

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
JOB: dict[str, Any] = {
    "name": "looked-at",
    "data": {"kind": "digits", "limit": 400, "test": {"fraction": 0.3}},
    "validation": {"folds": 2},
    "members": {
        "svm": {"kind": "svm", "C": 10},
        "forest": {"kind": "random_forest", "trees": 20},
        "logistic": "logistic",
        "cnn": NET,
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}
CONTRAST = """(selector) => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(channels(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, [r, g, b, a = 1]) =>
      [r, g, b].map((c, i) => a * c + (1 - a) * below[i]), [255, 255, 255]);
  };
  return [...document.querySelectorAll(selector)].filter((e) => e.textContent.trim()).map((element) => {
    const style = getComputedStyle(element), svg = element instanceof SVGElement;
    const ink = light(channels(svg ? style.fill : style.color)), paper = light(ground(element));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in PLACES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI_BROWSER") == "1":
            pytest.fail(f"CI_BROWSER=1 asks for a browser, and none of {', '.join(PLACES)} is on the PATH")
        pytest.skip(f"no browser: none of {', '.join(PLACES)} is on the PATH (CI_BROWSER=1 makes this a failure)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = Here(tmp_path_factory.mktemp("looked-at"))
    here.run(JOB, pictures=True)
    return here.newest_run() / "report.html"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names that are too long and full of quotes, many classes, many members."""
    path = tmp_path_factory.mktemp("odd") / "odd.html"
    classes = ["<script>alert(1)</script>", "\"a\" & 'b' 👕" + "x" * 300, *(f"class {k}" for k in range(28))]
    members = ["a" * 60, *(f"member.{k}" for k in range(12))]
    path.write_text(written(finished(classes=classes, members=members, rows=300, combiner="mean")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "report.html"
    path.write_text(search_page(data_of(searched())), encoding="utf-8")
    return path


class Opened:
    """A page with what went wrong while it was open."""

    def __init__(self, browser: Any, path: Path, *, width: int, scheme: str, script: bool = True) -> None:
        self.problems: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
        )
        self.page = context.new_page()
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.problems.append("a dialog"), dialog.dismiss()))
        self.page.on("request", self._asked)
        self._own = path.as_uri()
        self.page.goto(self._own)

    def _asked(self, request: Any) -> None:
        if request.url != self._own and not request.url.startswith("data:"):
            self.problems.append(f"request: {request.url}")

    def close(self) -> None:
        self.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["report", "odd", "search"])
def test_the_page_fits_loads_nothing_and_can_be_read(
    browser: Any, which: str, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    opened = Opened(browser, request.getfixturevalue(which), width=width, scheme=scheme)

    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in ("p, li, dd, dt, h1, h2, h3, summary, figcaption", "th, td", "svg text", "button, a"):
        ratios = opened.page.evaluate(CONTRAST, selector)
        assert ratios
        assert min(ratios) >= 4.5, f"{selector}: {min(ratios):.2f}"
    assert opened.problems == []
    opened.close()


def test_the_leaderboard_is_sorted_by_keyboard(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, width=1280, scheme="light")
    page = opened.page
    head = page.locator("table.board thead th", has_text="OOF acc.")
    column = page.locator("table.board thead th").all_inner_texts().index(head.inner_text())

    def shown() -> list[float]:
        cells = page.locator(f"table.board tbody:last-of-type tr > :nth-child({column + 1})").all_inner_texts()
        return [float(cell) for cell in cells]

    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending", "the best at the top"
    assert shown() == sorted(shown(), reverse=True)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown() == sorted(shown())
    assert page.locator("table.board th[aria-sort]").count() == 1
    assert page.locator("table.board tbody").first.inner_text().startswith("ensemble")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert opened.problems == []
    opened.close()


def test_trials_are_sorted_by_a_parameter_with_those_without_it_last(browser: Any, search: Path) -> None:
    opened = Opened(browser, search, width=1280, scheme="light")
    page = opened.page
    head = page.locator("table.trials thead th", has_text="schedule.every")
    column = page.locator("table.trials thead th").all_inner_texts().index(head.inner_text())

    head.locator("button").click()

    cells = page.locator(f"table.trials tbody tr > :nth-child({column + 1})").all_inner_texts()
    known = [int(cell) for cell in cells if cell != "–"]
    assert known and known == sorted(known)
    assert cells[len(known) :] == ["–"] * (40 - len(known))
    assert page.locator("#parallel svg polyline").count() == 40
    assert opened.problems == []
    opened.close()


def test_the_first_tab_stop_skips_to_the_content(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, width=1280, scheme="light")

    opened.page.keyboard.press("Tab")

    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert opened.page.locator(".skip").bounding_box()["y"] >= 0
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "main"
    opened.close()


def test_a_switch_shows_one_matrix_at_a_time(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, width=390, scheme="dark")
    group = opened.page.locator("#diversity .switch")

    group.get_by_role("button", name="Correlation of errors").press("Enter")

    assert group.locator("[aria-pressed=true]").all_inner_texts() == ["Correlation of errors"]
    assert opened.page.locator("#diversity .panel:visible h3").all_inner_texts() == ["Correlation of errors"]
    opened.close()


def test_without_scripts_the_page_is_complete(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, width=1280, scheme="light", script=False)

    assert opened.page.locator("#diversity .panel:visible").count() == 2
    assert opened.page.locator("table.board thead button").count() == 0
    assert opened.problems == []
    opened.close()


@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_a_wide_window_shows_the_whole_leaderboard_with_full_names(browser: Any, tmp_path: Path, width: int) -> None:
    names = [f"boosting_with_many_small_trees_{seed}" for seed in "ab"]
    path = tmp_path / "report.html"
    path.write_text(written(finished(members=[*names, "svm"])), encoding="utf-8")
    opened = Opened(browser, path, width=width, scheme="light")
    board = opened.page.locator("table.board")

    hidden = board.evaluate("table => table.parentElement.scrollWidth - table.parentElement.clientWidth")
    cut = board.evaluate(
        "table => [...table.querySelectorAll('tbody th')].filter(th => th.scrollWidth > th.clientWidth + 1).length"
    )
    shown = board.locator("tbody th").all_inner_texts()
    opened.close()

    assert hidden <= 0
    assert cut == 0
    assert set(names) <= set(shown)
