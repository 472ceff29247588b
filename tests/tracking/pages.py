"""Photograph the pages of MLflow that docs/tracking.md and README.md show.

    quorate train pipelines/digits.yaml
    quorate ui &
    python -m tests.tracking.pages http://127.0.0.1:5000 mlflow.db runs docs

Chromium must be on the PATH.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from quorate.tracking.ranking import address, newest, search

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
WIDE, HIGH = 1440, 900
LIST = 2240
"""Pixels of width for the list, so that all its columns fit."""
SETTLED = 9_000
"""Milliseconds until MLflow has drawn a page; it loads its parts one after another."""
WITHOUT_ASSISTANT = """() => {
  localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
}"""
HIDE = '[class*="fab"], [aria-label*="Assistant"] { visibility: hidden; }'


def main(server: str, database: str, runs: str, docs: str) -> None:
    uri = f"sqlite:///{Path(database).absolute()}"
    found = newest(Path(runs), uri)
    if found is None:
        sys.exit(f"no run below {runs} is whole in {uri}")
    run, experiment_id = found
    client = MlflowClient(uri)
    best = client.search_runs([experiment_id], search(run), order_by=["metrics.oof_nll ASC"])
    members = [one for one in best if one.info.run_name != "ensemble"]
    alone = next(one for one in members if one.data.params["kind"] == "net" and "." not in str(one.info.run_name))
    job = client.get_run(best[0].data.tags["mlflow.parentRunId"])
    _, name, version = job.data.tags["quorate.model"].split("/")
    page = f"{server}/#/experiments/{experiment_id}/runs"
    mode = "workflowType=machine_learning"
    pages: dict[str, tuple[str, Callable[[Page], Any] | None]] = {
        "tracking-members": (address(server, experiment_id, run), None),
        "tracking-compare": (address(server, experiment_id, run, charts=True), None),
        "tracking-member": (f"{page}/{members[0].info.run_id}?{mode}", None),
        "tracking-curves": (f"{page}/{alone.info.run_id}/artifacts?{mode}", _open_curves),
        "tracking-model": (f"{server}/#/models/{name}/versions/{version}?{mode}", None),
        "mlflow": (f"{page}/{job.info.run_id}?{mode}", lambda page: page.get_by_text("Show more").first.click()),
    }
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        context = chromium.new_context(viewport={"width": WIDE, "height": HIGH})
        seen = context.new_page()
        seen.goto(f"{server}/health")
        seen.evaluate(WITHOUT_ASSISTANT)
        for stem, (url, act) in pages.items():
            seen.set_viewport_size({"width": LIST if stem == "tracking-members" else WIDE, "height": HIGH})
            seen.goto("about:blank")
            seen.goto(url)
            seen.wait_for_timeout(SETTLED)
            seen.add_style_tag(content=HIDE)
            if act is not None:
                act(seen)
                seen.wait_for_timeout(SETTLED // 3)
            seen.screenshot(path=Path(docs) / f"{stem}.png")
        chromium.close()


def _open_curves(page: Page) -> None:
    page.get_by_text("plots", exact=True).click()
    page.wait_for_timeout(2_000)
    page.get_by_text(".png").first.click()
    page.wait_for_timeout(2_000)
    page.get_by_text("Path:").first.evaluate("element => element.style.visibility = 'hidden'")  # of this machine


if __name__ == "__main__":
    main(*sys.argv[1:])
