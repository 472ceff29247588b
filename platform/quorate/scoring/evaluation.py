"""Evaluate an ensemble on labelled rows, with the results of `quorate evaluate` as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quorate.bundle import Bundle
from quorate.ensemble.breakdown import by_class, confident_mistakes
from quorate.ensemble.metric_intervals import LEVEL, RESAMPLES, figures, paired
from quorate.ensemble.metrics import confusion_matrix, scores
from quorate.scoring.inputs import unreadable_files
from quorate.scoring.labelled_files import LabelledRows
from quorate.scoring.score import ScoredRows

MISTAKES = 10
"""Number of most confident mistakes to list."""
FEW_GROUPS = 20
"""With fewer groups, cluster-robust standard errors are clearly too small (Cameron and Miller, 2015, section VI: 20 to
50 are few)."""


def evaluate(bundle: Bundle, data: str, labelled: LabelledRows, answers: ScoredRows) -> dict[str, Any]:
    """Return metrics with intervals, by member and by class, the confusion matrix and the worst mistakes.

    Members are scored before calibration and weighting. Numbers are rounded to six digits.
    """
    proba, y, names = answers.proba, labelled.y, bundle.class_names
    whole = figures(proba, y, groups=labelled.groups)
    counts = confusion_matrix(proba, y, len(names))
    classes = [{"class": name, **_rounded(asdict(found))} for name, found in zip(names, by_class(counts), strict=True)]
    weights = {member.name: member.weight for member in bundle.manifest.members}
    members = {name: scores(member, y) for name, member in answers.members.items()}
    return {
        "job": bundle.manifest.job,
        "run": bundle.manifest.run,
        "data": data,
        "rows": len(y),
        "unlabelled": labelled.unlabelled,
        "unreadable": [{"input": row.name, "error": row.reason} for row in labelled.unreadable],
        "level": LEVEL,
        "resamples": RESAMPLES,
        "ensemble": {name: _rounded(figure.to_json()) for name, figure in whole.items()},
        "members": [
            {"name": name, "weight": weights[name], **_rounded(dict(found))} for name, found in members.items()
        ],
        "groups": None if labelled.groups is None else len(np.unique(labelled.groups)),
        "against_best": _against_best(answers, labelled, {name: found["nll"] for name, found in members.items()}),
        "positive": names[1] if len(names) == 2 else None,
        "lost": list(answers.lost),
        "classes": classes,
        "confusion": counts.tolist(),
        "mistakes": [
            {
                "input": answers.names[row],
                "label": names[y[row]],
                "class": names[proba[row].argmax()],
                "confidence": round(float(proba[row].max()), 6),
            }
            for row in confident_mistakes(proba, y, MISTAKES)
        ],
        "notes": _notes(labelled, classes, answers),
    }


def _against_best(answers: ScoredRows, labelled: LabelledRows, losses: dict[str, float]) -> dict[str, Any] | None:
    """Return the ensemble's metrics minus those of the member with the lowest log-loss on these rows.

    The member is chosen on the same rows, which biases the comparison in its favour.
    """
    if len(losses) < 2:
        return None
    best = min(losses, key=losses.__getitem__)
    found = paired(answers.proba, answers.members[best], labelled.y, groups=labelled.groups)
    return {"member": best, **{name: _rounded(figure.to_json()) for name, figure in found.items()}}


def _notes(labelled: LabelledRows, classes: list[dict[str, Any]], answers: ScoredRows) -> list[str]:
    notes = list(labelled.notes)
    if labelled.unreadable:
        total = len(labelled.y) + len(labelled.unreadable)
        notes.append(unreadable_files(labelled.unreadable, total) + "\nThe metrics are those of the other pictures.")
    if labelled.groups is not None:
        count = len(np.unique(labelled.groups))
        notes.append(
            f"the rows belong to {count:,} group{'s' if count != 1 else ''}; the intervals assume that groups, not "
            "rows, are independent" + (", and are too narrow for so few groups" if count < FEW_GROUPS else "")
        )
    if labelled.unlabelled:
        notes.append(f"{labelled.unlabelled:,} rows without a label were left out")
    if absent := [row["class"] for row in classes if not row["support"]]:
        listed = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        notes.append(f"no row has the class {listed}, so its recall is unknown")
    if answers.lost:
        notes.append(f"members without metrics, because they failed on some rows: {', '.join(answers.lost)}")
    return notes


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
