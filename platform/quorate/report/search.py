"""A search on the terminal: a line per trial while it runs, and a table of the best trials at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from quorate.runs.search_record import ChoiceRecord, SearchRecord, TrialRecord, TrialStatus

_SHOWN = 10
"""Number of trials in the table."""
_STATES = {"complete": "", "stopped": "stopped early"}


def metric_of(metric: str, loss: float) -> float:
    """A metric as it is shown: one that is better when higher is 1 minus its loss."""
    return loss if metric in ("nll", "brier") else 1 - loss


def trial_line(trial: TrialRecord, *, metric: str, best: float | None) -> str:
    """What a trial has reached, in one line."""
    head = f"trial {trial.number} ({trial.source}): {trial.state}"
    if trial.loss is not None:
        head += f", {metric} {metric_of(metric, trial.loss):.4f}"
        if trial.state == "stopped":
            head += f" after {_work(trial)}"
        elif best is not None:
            head += " (the best so far)" if trial.loss <= best else f" (best {metric_of(metric, best):.4f})"
    if trial.problem:
        head += f", {trial.problem}"
    return f"{head}: {values_text(trial.values)}"


def progress_text(states: Sequence[TrialStatus], *, most: int, metric: str, best: float | None) -> str:
    """How far a search is; `states` are those of its trials, and `best` the lowest loss."""
    counts = [
        (states.count("complete"), "complete"),
        (states.count("stopped"), "stopped"),
        (states.count("running"), "running"),
    ]
    parts = ", ".join(f"{count} {word}" for count, word in counts if count)
    found = f"; best {metric} {metric_of(metric, best):.4f}" if best is not None else ""
    return f"{len(states)} of {most} trials: {parts}{found}"


def trial_text(trial: TrialRecord, metric: str) -> str:
    """The name, the figure and the values of a trial, for a chart."""
    figure = f"{metric} {metric_of(metric, trial.loss):.4f}" if trial.loss is not None else ""
    state = "" if trial.state == "complete" else f"{_STATES.get(trial.state, trial.state)} after {_work(trial)}"
    return "; ".join(filter(None, (f"trial {trial.number}, {trial.name}", figure, state, values_text(trial.values))))


def values_text(values: Mapping[str, Any]) -> str:
    """The values of a trial, such as `lr 0.01, schedule cosine`."""
    return ", ".join(f"{path} {value_text(value)}" for path, value in values.items())


def search_table(record: SearchRecord) -> Table:
    """The best trials, and the other ones by their number."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("trial", "source", record.metric, "folds", "epochs", "seconds"):
        table.add_column(head, justify="left" if head in ("trial", "source") else "right", no_wrap=True)
    for path in record.paths:
        table.add_column(path, justify="right", overflow="fold")
    complete = [one for one in record.trials if one.loss is not None]
    complete.sort(key=lambda one: (one.state != "complete", -one.folds, one.loss, one.number))
    for one in complete[:_SHOWN]:
        assert one.loss is not None
        figures = [
            f"{metric_of(record.metric, one.loss):.4f}",
            str(one.folds),
            str(one.epochs or ""),
            f"{one.seconds:.1f}",
        ]
        state = _STATES.get(one.state, one.state)
        source = one.source if not state else f"{one.source}, {state}"
        values = [value_text(one.values[path]) if path in one.values else "" for path in record.paths]
        table.add_row(*map(Text, [one.name, source, *figures, *values]))
    return table


def remarks(record: SearchRecord) -> Iterator[str]:
    """How many trials there were, why the search ended, and what the choices are worth."""
    counts = {state: sum(one.state == state for one in record.trials) for state in dict.fromkeys(_states(record))}
    spent = sum(one.seconds for one in record.trials)
    parts = ", ".join(f"{count} {state}" for state, count in counts.items())
    reused = sum(one.reused for one in record.trials)
    ended = f"; {record.ended}" if record.ended else ""
    yield f"{len(record.trials)} trials: {parts}; {spent:.0f} s of training ({reused} fits reused){ended}"
    for choice in record.choices:
        yield _choice_line(choice, record.metric)
    best, first = record.best, next((one for one in record.trials if one.source == "written"), None)
    if best is not None and first is not None and first.loss is not None and first.state == "complete":
        if best.name == first.name:
            yield f"no trial was better than {record.member} as written"
        else:
            before, after = metric_of(record.metric, first.loss), metric_of(record.metric, best.loss or 0.0)
            yield f"{record.member} as written has {record.metric} {before:.4f}, the best trial {after:.4f}"


def _states(record: SearchRecord) -> Iterator[str]:
    return (one.state for one in record.trials)


def _choice_line(choice: ChoiceRecord, metric: str) -> str:
    names = ", ".join(choice.trials)
    if choice.loss is None or choice.honest_loss is None or choice.optimism is None:
        return f"{choice.rule}: {names}"
    shown, honest = metric_of(metric, choice.loss), metric_of(metric, choice.honest_loss)
    error = f" ± {1.96 * choice.honest_error:.4f}" if choice.honest_error is not None else ""
    return (
        f"{choice.rule}: {names}; {metric} {shown:.4f}, and {honest:.4f}{error} on rows that did not choose "
        f"(optimism {choice.optimism:+.4f})"
    )


def _work(trial: TrialRecord) -> str:
    epochs = f" and {trial.epochs} epochs" if trial.epochs else ""
    return f"{trial.folds} fold{'s' * (trial.folds != 1)}{epochs}"


def value_text(value: Any) -> str:
    """A value of a parameter as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)
