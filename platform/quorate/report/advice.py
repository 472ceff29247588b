"""A diagnosis of a run as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from quorate.report.diagnosis import Estimate, Evidence, Finding, diagnose, first_to_do, format_estimate

_SPLITS = (("train", "training"), ("valid", "validation"), ("train_dev", "train-dev"), ("test", "test"))


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The evidence about the ensemble or a member, and the findings of the rules."""

    evidence: Evidence
    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding | None:
        return first_to_do(self.findings)

    def to_json(self) -> dict[str, Any]:
        e, first = self.evidence, self.first
        figures = {split: _json(getattr(e, split)) for split, _ in _SPLITS}
        return {
            "name": e.name,
            **figures,
            "train_note": e.train_note or None,
            "findings": [found.to_json() for found in self.findings],
            "first": first.rule if first else None,
        }


def diagnoses(evidence: Sequence[Evidence]) -> list[Diagnosis]:
    return [Diagnosis(each, tuple(diagnose(each))) for each in evidence]


def as_json(found: Sequence[Diagnosis], *, run: str, given: bool) -> dict[str, Any]:
    """The diagnoses of the ensemble and the members; `given` is whether the user set the target error."""
    e = found[0].evidence
    target = {"measure": e.measure, "error": e.target.value, "given": given}
    ensemble, *members = (each.to_json() for each in found)
    return {"run": run, "target": target, "ensemble": ensemble, "members": members}


def as_lines(found: Sequence[Diagnosis], *, run: str, given: bool) -> Iterator[Table | Text]:
    """The metrics, then the findings and the next step for the ensemble and for each member."""
    whole = found[0].evidence
    target = format_estimate(whole.target, whole.measure)
    without = "" if given else " (the default; set --target ACCURACY to what is possible, e.g. human accuracy)"
    yield Text(f"{run}: {whole.measure} against a target of {target}{without}", style="bold")
    yield _figures(found)
    for note in dict.fromkeys(each.evidence.train_note for each in found if each.evidence.train_note):
        names = [each.evidence.name for each in found if each.evidence.train_note == note]
        yield Text(f"note on {', '.join(names)}: {note}")
    yield Text("Ensemble", style="bold")
    yield from _lines_of(found[0])
    for each in found[1:]:
        yield Text(each.evidence.name, style="bold")
        yield from _lines_of(each)


def _lines_of(each: Diagnosis) -> Iterator[Text]:
    first = each.first
    for finding in each.findings:
        mark = "problem" if finding.problem else "ok"
        yield Text(f"  {mark:8}{finding.rule}: {finding.sentence}", style="yellow" if finding.problem else "")
    if first is None:
        e = each.evidence
        reached = e.valid is not None and e.valid.value <= e.target.value
        yield Text("  the target is reached" if reached else "  no problem beyond the noise")
    else:
        yield Text(f"  next: {first.advice}", style="bold")


def _figures(found: Sequence[Diagnosis]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", overflow="fold")
    shown = [(split, title) for split, title in _SPLITS if any(getattr(each.evidence, split) for each in found)]
    for _, title in shown:
        table.add_column(title, justify="right", overflow="fold")
    for each in found:
        e = each.evidence
        table.add_row(Text(e.name), *(_cell(getattr(e, split), e.measure) for split, _ in shown))
    return table


def _cell(estimate: Estimate | None, measure: str) -> str:
    return "–" if estimate is None else format_estimate(estimate, measure).replace(" to ", "–")


def _json(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {
        "value": round(estimate.value, 6),
        "low": round(estimate.low, 6),
        "high": round(estimate.high, 6),
        "rows": estimate.rows,
    }
