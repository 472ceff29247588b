"""The section on the importance of each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quorate.report.importance import Importance, importance_of
from quorate.report.page.section import Chart, Remark, Section, listed, many, note, percent
from quorate.report.page.svg import clip, drawing, rectangle, rule, text
from quorate.report.search_page.data import SearchData

WIDTH, LEFT, ROW = 430.0, 150.0, 24.0
SHARE, STABLE = 0.8, 50
"""The parameters that are named have together this part of the importance that is certain. With fewer trials, a remark
says that the figures are uncertain. Assumptions, not measurements."""


def section(data: SearchData) -> Section:
    found = importance_of(data.record)
    return Section(
        "importance",
        "Importance of the parameters",
        f"How much the values of the best {found.best or 'trials'} differ from those of all trials, as a part of the "
        "sum (PED-ANOVA, Watanabe et al., 2023). A parameter with a low importance can be left as it is. A parameter "
        "of a kind counts in the trials with this kind.",
        list(_remarks(found)),
        {"chart": _chart(found) if found.values else None, "notes": list(_notes(found))},
    )


def _remarks(found: Importance) -> Iterator[Remark]:
    if not found.values:
        return
    known = {name: value for name, value in found.values.items() if name not in found.rare}
    named: dict[str, float] = {}
    for name, value in known.items():
        if sum(named.values()) < SHARE * sum(known.values()):
            named[name] = value
    if named:
        words = listed([f"`{name}` ({percent(value, 0)})" for name, value in named.items()])
        yield note(f"Most important: {words}.")
    if found.trials < STABLE:
        yield note(f"{found.trials} trials are few for these figures: other trials could change the order.")


def _notes(found: Importance) -> Iterator[str]:
    if found.problem:
        yield found.problem
        return
    yield (
        f"From {found.trials} trials, of which the best {found.best} are compared with all. Stopped trials count as "
        "worse than the complete ones."
    )
    if found.rare:
        words = listed([name for name in found.values if name in found.rare], 12)
        yield f"Uncertain, and grey in the chart, because few of the best trials have it: {words}."
    if found.left_out:
        words = "; ".join(f"{name} ({reason})" for name, reason in found.left_out.items())
        yield f"Not evaluated: {words}."
    if found.outside:
        verb = "is" if found.outside == 1 else "are"
        yield f"{many(found.outside, 'trial')} with values outside of the space {verb} not used."


def _chart(found: Importance) -> Chart:
    height = ROW * len(found.values) + 12
    most = max(found.values.values())
    parts = [rule(LEFT, 4, LEFT, height - 4, "axis")]
    for number, (name, value) in enumerate(found.values.items()):
        y = 8 + ROW * number
        wide = (WIDTH - LEFT - 90) * value / most
        style = f"bar {'plain' if name in found.rare else 'c1'}"
        parts.append(text(LEFT - 8, y + 12, clip(name, 21), "label", "end", name))
        parts.append(rectangle(LEFT, y, max(wide, 1), ROW - 8, style, f"{name}: {percent(value)}"))
        some = f" ({many(found.counts[name], 'trial')})" if found.counts[name] < found.trials else ""
        parts.append(text(LEFT + wide + 6, y + 12, f"{percent(value, 0 if value >= 0.1 else 1)}{some}", "tick"))
    label = f"Importance of the parameters: {listed(_texts(found), 12)}."
    return Chart(drawing(WIDTH, height, label, *parts))


def _texts(found: Importance) -> Sequence[str]:
    return [f"{name} {percent(value)}" for name, value in found.values.items()]
