"""The section on the result: the best trial, what the choice is worth, and the ensembles of trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quorate.ensemble.paired import Z
from quorate.report.page.section import Remark, Section, act, good, many, note, percent, signed
from quorate.report.search import metric_of, value_text
from quorate.report.search_page.data import SearchData
from quorate.report.search_page.parameter_axis import axes_of
from quorate.runs.search_record import ChoiceRecord

EDGE, AT_EDGE = 0.1, 3
"""If this number of best trials have a value within this part of one end of an interval, a larger space is recommended.
Assumptions, not measurements."""
STATES = {"stopped": "stopped early"}


@dataclass(frozen=True)
class ChoiceRow:
    """A choice among the trials, as metrics."""

    rule: str
    trials: str
    figure: float
    honest: float | None
    interval: float | None
    """Half of the width of the 95 % interval of `honest`."""


def section(data: SearchData) -> Section:
    record = data.record
    rows = [_row(data, choice) for choice in record.choices if choice.loss is not None]
    written = next((one for one in record.trials if one.source == "written"), None)
    return Section(
        "result",
        "Result",
        f"The figures are the {record.metric} of out-of-fold predictions; "
        f"{'low' if data.lower_is_better else 'high'} is good. The lowest of many losses is lower than the loss on new "
        "rows. So the choice is repeated without a fifth of the rows in turn, and scored on these rows.",
        list(_remarks(data)),
        {
            "tiles": list(_tiles(data, rows)),
            "choices": rows,
            "written": written,
            "best": record.best,
            "values": [
                (
                    path,
                    *(
                        value_text(one.values[path]) if one and path in one.values else "–"
                        for one in (written, record.best)
                    ),
                )
                for path in record.paths
            ],
        },
    )


def _row(data: SearchData, choice: ChoiceRecord) -> ChoiceRow:
    metric = data.record.metric
    names = [f"{name} ({weight:.2f})" for name, weight in zip(choice.trials, choice.weights, strict=True)]
    assert choice.loss is not None, "known"
    return ChoiceRow(
        choice.rule,
        ", ".join(names if len(names) > 1 else choice.trials),
        metric_of(metric, choice.loss),
        metric_of(metric, choice.honest_loss) if choice.honest_loss is not None else None,
        Z * choice.honest_error if choice.honest_error is not None else None,
    )


def _tiles(data: SearchData, rows: list[ChoiceRow]) -> Iterator[tuple[str, str, str]]:
    """Triples of title, number and explanation."""
    record = data.record
    if record.best is not None:
        yield f"best {record.metric}", f"{data.figure(record.best):.4f}", record.best.name
    if rows and rows[0].honest is not None:
        around = f"± {rows[0].interval:.4f}, " if rows[0].interval is not None else ""
        yield "honest estimate", f"{rows[0].honest:.4f}", f"{around}on rows that did not choose"
    if record.choices and (optimism := record.choices[0].optimism) is not None:
        yield "optimism", signed(optimism), "of the choice of the best trial"
    states = dict.fromkeys(one.state for one in record.trials)
    counts = ", ".join(
        f"{sum(one.state == state for one in record.trials):,} {STATES.get(state, state)}" for state in states
    )
    yield "trials", f"{len(record.trials):,}", counts


def _remarks(data: SearchData) -> Iterator[Remark]:
    record, best = data.record, data.record.best
    if not record.ended:
        yield act("The search did not end. Start the same command again: finished trials are reused.")
    if best is None:
        yield act("No trial is complete.")
        return
    yield from _against_written(data)
    yield from _honesty(record.choices[:1])
    yield from _saving(data)
    for state in ("failed", "invalid", "out of time"):
        own = [one for one in record.trials if one.state == state]
        if own:
            reason = next((one.problem for one in own if one.problem), "")
            yield note(f"{many(len(own), 'trial')}: {state}{f', for example: {reason}' if reason else ''}.")
    for path, end, value in _edges(data):
        yield act(
            f"The best {AT_EDGE} trials have a `{path}` near the {end} end of its interval ({value}): search a larger "
            "interval."
        )


def _against_written(data: SearchData) -> Iterator[Remark]:
    record, best = data.record, data.record.best
    written = next((one for one in record.trials if one.source == "written" and one.state == "complete"), None)
    if written is None or best is None or written.loss is None:
        return
    if written.name == best.name:
        yield note(f"No trial was better than `{record.member}` as written.")
    else:
        yield good(
            f"`{record.member}` as written has {record.metric} {data.figure(written):.4f}; the best trial, "
            f"`{best.name}`, has {data.figure(best):.4f}."
        )


def _honesty(choices: tuple[ChoiceRecord, ...]) -> Iterator[Remark]:
    for choice in choices:
        if choice.optimism is None or choice.honest_error is None:
            return
        if choice.optimism > Z * choice.honest_error:
            yield note(
                f"The choice of the best trial is optimistic by {choice.optimism:.4f}, which is more than the noise of "
                "these rows. Expect the honest estimate."
            )
        else:
            yield good(
                f"The choice of the best trial is optimistic by {signed(choice.optimism)}, which is within the noise "
                "of these rows."
            )


def _saving(data: SearchData) -> Iterator[Remark]:
    record = data.record
    stopped = [one for one in record.trials if one.state == "stopped"]
    if not stopped:
        return
    whole = record.steps[-1][0] * record.steps[-1][1]
    known = [one for one in record.trials if one.steps]
    done = sum(one.steps[-1].folds * one.steps[-1].part for one in known) / (whole * len(known))
    yield note(
        f"{len(stopped):,} of {many(len(record.trials), 'trial')} {'was' if len(stopped) == 1 else 'were'} stopped "
        f"early: the search did {percent(done, 0)} of the training that all of them would have needed."
    )


def _edges(data: SearchData) -> Iterator[tuple[str, str, str]]:
    """The parameters whose interval seems too small: path, end and value of this end."""
    if len(data.complete) < 2 * AT_EDGE:
        return
    top = data.complete[:AT_EDGE]
    for axis in axes_of(data.record, data.scored):
        places = [axis.position(one) for one in top]
        scale = axis.scale(0.0, 1.0)
        if axis.choices or None in places:
            continue
        parts = [scale(place) for place in places if place is not None]
        if max(parts) <= EDGE:
            yield axis.path, "lower", value_text(axis.low)
        elif min(parts) >= 1 - EDGE:
            yield axis.path, "upper", value_text(axis.high)
