"""The section on the value of each member: how the ensemble changes without it, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from quorate.ensemble.ablation import EnsembleChange
from quorate.ensemble.paired import Z
from quorate.report.page.run import RunData
from quorate.report.page.section import Chart, Remark, Section, act, good, listed, note, percent, signed
from quorate.report.page.svg import Scale, clip, drawing, rule, span, text
from quorate.report.page.values import LEAST, Values, matters


@dataclass(frozen=True)
class MemberValue:
    """A member with its weight, its cost, and how the ensemble changes without it."""

    name: str
    weight: float
    seconds: float
    share: float
    """Fraction of the total fit time."""
    change: EnsembleChange | None

    @property
    def verdict(self) -> str:
        if self.change is None:
            return "not tested"
        if not matters(self.change):
            return "within the noise" if abs(self.change.nll) >= LEAST else "no difference"
        return "needed" if self.change.nll > 0 else "harmful"


def section(run: RunData, values: Values) -> Section:
    valued = list(_valued(run, values))
    idle = [name for name, weight in zip(run.names, run.weights, strict=True) if not weight]
    return Section(
        "value",
        "Value of each member",
        "The combiner is fitted again without the member, on the same rows, with cross-fitting. The rise of the "
        "log-loss (NLL) is the value of the member. ± is the standard error of the paired difference; a change of "
        "less than two standard errors is noise.",
        list(_remarks(run, values, valued)),
        {"valued": valued, "chart": _chart(valued), "notes": values.notes, "idle": idle, "rows": values.rows},
    )


def _valued(run: RunData, values: Values) -> Iterator[MemberValue]:
    total = max(float(run.seconds.sum()), 1e-9)
    for place in run.weighing:
        member = run.oof.members[place]
        asked = values.members.index(place) if place in values.members and values.without else None
        change = values.without[asked] if asked is not None else None
        seconds = float(run.seconds[member])
        yield MemberValue(run.names[member], float(run.weights[member]), seconds, seconds / total, change)


def _remarks(run: RunData, values: Values, valued: Sequence[MemberValue]) -> Iterator[Remark]:
    if len(valued) < 2:
        yield note(f"The ensemble is {valued[0].name} alone, so no member can be left out.")
        return
    asked = [each for each in valued if each.change is not None]
    missed = [each for each in asked if each.verdict == "needed"]
    noise = [each for each in asked if each.verdict in ("within the noise", "no difference")]
    harm = [each for each in asked if each.verdict == "harmful"]
    if missed:
        top = max(missed, key=lambda each: each.change.nll if each.change else 0.0)
        assert top.change is not None
        yield good(
            f"{top.name} has the highest value: without it, the log-loss rises by {top.change.nll:.4f} ± "
            f"{top.change.nll_error:.4f}."
        )
    if harm:
        yield act(
            f"The ensemble is better without {listed([each.name for each in harm])}: "
            f"leave {'it' if len(harm) == 1 else 'them'} out of the job."
        )
    if noise:
        share = sum(each.share for each in noise)
        each_of = "" if len(noise) == 1 else " (each alone, not all together)"
        yield note(
            f"Leaving out {listed([each.name for each in noise])} changes nothing beyond the noise{each_of}; "
            f"{'it takes' if len(noise) == 1 else 'they take'} {percent(share, 0)} of the fit time."
        )


def _chart(valued: Sequence[MemberValue]) -> Chart | None:
    asked = [each for each in valued if each.change is not None]
    if not asked:
        return None
    ends = [end for each in asked if (c := each.change) for end in (c.nll - Z * c.nll_error, c.nll + Z * c.nll_error)]
    width, tall, top = 390.0, 26.0, 12.0
    left = 14 + 6.4 * max(len(clip(each.name, 18)) for each in asked)
    low, high = span([0.0, *ends])
    scale = Scale(low, high, left, width - 12)
    foot = top + tall * len(asked)
    parts = [rule(scale(0), top - 6, scale(0), foot, "axis")]
    for tick in scale.ticks(4):
        parts.append(rule(scale(tick), top - 6, scale(tick), foot, "grid"))
        parts.append(text(scale(tick), foot + 16, f"{tick:+g}".replace("-", "−") if tick else "0", "tick", "middle"))
    for number, each in enumerate(asked):
        change, y = each.change, top + tall * number + tall / 2
        assert change is not None
        first, last = sorted((scale(0), scale(change.nll)))
        style = {"needed": "c1", "harmful": "c2"}.get(each.verdict, "plain")
        said = f"without {each.name}: NLL {signed(change.nll)} ± {change.nll_error:.4f}"
        parts.append(text(left - 8, y + 4, clip(each.name, 18), "name", "end", each.name))
        parts.append(
            f'<rect class="bar {style}" x="{first:.1f}" y="{y - 8:.1f}" width="{max(last - first, 1):.1f}" height="16">'
            f"{Markup('<title>{}</title>').format(said)}</rect>"
        )
        ends_ = (scale(change.nll - Z * change.nll_error), scale(change.nll + Z * change.nll_error))
        parts.append(rule(ends_[0], y, ends_[1], y, "whisker ink"))
    parts.append(text((left + width) / 2, foot + 34, "change of the log-loss without it", "label", "middle"))
    label = "Change of the log-loss without each member: " + "; ".join(
        f"{each.name} {signed(each.change.nll)}" for each in asked if each.change
    )
    return Chart(
        drawing(width, foot + 42, label, *parts, style="wide"),
        (),
        "Lines are 95 % intervals; grey bars are within the noise.",
    )
