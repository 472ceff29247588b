"""Make an MLflow view that lists the members of a run or the trials of a search, best first, and the view's URL.

MLflow reads a shared view of an experiment's page from a tag of the experiment. The URL contains the last part of the
tag's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quorate.tracking import journal, position
from quorate.tracking.codec import JournalError
from quorate.tracking.records import RankingRecord

MEMBERS_OF = "quorate.members_of"
"""The tag of the ensemble's run and of its members' runs; its value is the name of the run folder."""
SHARED_VIEW = "mlflow.sharedViewState."
"""The beginning of the tag's name, as in MLflow 3.17 (`mlflow/server/js`)."""
_ORDER = "oof_nll"
_COLUMNS = {
    "metrics.`oof_nll`": 82,
    "metrics.`oof_accuracy`": 112,
    "metrics.`test_nll`": 82,
    "metrics.`test_accuracy`": 116,
    "metrics.`weight`": 76,
    "metrics.`worth_nll`": 92,
    "metrics.`fit_seconds`": 98,
    "metrics.`predict_ms`": 96,
    "metrics.`size_mb`": 82,
    "params.`kind`": 120,
    "params.`arch`": 110,
    "params.`epochs`": 76,
    "params.`lr`": 60,
    "duration": 80,
    "attributes.`Dataset`": 300,
}
"""Widths of the columns in pixels, in the order of the columns."""
_LINES = ("weight", "fit_seconds", "predict_ms", "size_mb", "oof_accuracy", "oof_nll")
"""Axes of the parallel coordinates plot, after the kind. All members have these metrics; MLflow leaves out runs that
lack one. The last metric sets the colour of the lines."""
_BARS = ("oof_nll", "oof_accuracy", "worth_nll", "weight", "predict_ms", "fit_seconds")
_TRIAL_FIGURES = ("folds", "epochs", "fit_seconds")
_LOWERED = ("oof_nll", "oof_brier")
"""The metrics of searches of which a low value is good."""


def newest(runs: Path, uri: str) -> tuple[str, str] | None:
    """The newest run below `runs` whose members are all on the tracking server `uri`, and the id of its experiment."""
    journals = sorted(runs.glob(f"*/{journal.NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in journals:
        try:
            found = _sent(path, uri)
        except JournalError:  # another run can be shown
            continue
        if found is not None:
            return found
    return None


def _sent(path: Path, uri: str) -> tuple[str, str] | None:
    """The same for one journal; None if not all records are on the server. Raises `JournalError`."""
    names = [record.run for record in journal.tail(path) if isinstance(record, RankingRecord)]
    header = journal.header(path) if names else None
    if header is None:
        return None  # the run has not finished, or an earlier version wrote it
    where = position.load(path.parent, uri, header.run)
    if where.experiment_id and journal.count(path, where.offset) == 0:
        return names[-1], where.experiment_id
    return None


def search(run: str) -> str:
    """The filter that finds the members and the ensemble of a run folder in MLflow."""
    return f"tags.`{MEMBERS_OF}` = '{run}'"


def address(server: str, experiment_id: str, run: str, *, charts: bool = False) -> str:
    """The URL of the page with the members of a run folder on a tracking server, as a table or as charts."""
    page = f"{server.rstrip('/')}/#/experiments/{quote(experiment_id)}/runs?workflowType=machine_learning"
    return f"{page}&viewStateShareKey={quote(run)}" + ("&compareRunsMode=CHART" if charts else "")


def view(run: str, searched: Sequence[str] = (), metric: str = _ORDER) -> tuple[str, str]:
    """The name and the value of the experiment's tag that defines the view; `searched` are the parameters of a search
    that all trials have, because MLflow leaves out lines without a value."""
    bars: Sequence[str]
    if searched:
        columns = dict.fromkeys([f"metrics.`{name}`" for name in (metric, *_TRIAL_FIGURES)], 100)
        columns |= dict.fromkeys([f"params.`{name}`" for name in searched], 110)
        params, metrics, bars = list(searched), [metric], (metric, *_TRIAL_FIGURES)
    else:
        columns, params, metrics, bars = _COLUMNS, ["kind"], list(_LINES), _BARS
    title = "Parameters and figures of the trials" if searched else "Kinds, scores and costs"
    lines = _card("PARALLEL", "all", title)
    lines |= {"selectedParams": params, "selectedMetrics": metrics, "showAllRuns": False}
    cards = [{**_card("BAR", name, "One metric each"), "metricKey": name, "dataAccessKey": name} for name in bars]
    state = {
        "searchFilter": search(run),
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": metric in _LOWERED,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [name for name in columns if "." in name],
        "columnOrder": ["attributes.`Run Name`", *columns, "runDateAndNestInfo"],
        "columnWidths": {"attributes.`Run Name`": 150, **columns, "runDateAndNestInfo": 150},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [lines, *cards],
        "compareRunSections": [_section(title, columns=1), _section("One metric each", columns=3)],
    }
    return f"{SHARED_VIEW}{run}", json.dumps(state)


def _section(name: str, *, columns: int) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "columns": columns}


def _card(kind: str, uuid: str, section: str) -> dict[str, Any]:
    """The settings that all charts have."""
    shown = {"type": kind, "uuid": uuid, "metricSectionId": section, "runsCountToCompare": 50}
    return {**shown, "deleted": False, "isGenerated": False}
