"""The cost and value of an ensemble's members, as a table and in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from quorate.ensemble.ablation import EnsembleChange, PrunedEnsemble
from quorate.ensemble.paired import Z
from quorate.ensemble.pruning_path import PruningPath


def as_table(found: PruningPath, chosen: PrunedEnsemble | None = None) -> Table:
    """One row per ensemble, from all members to a single one; the `chosen` ensemble is bold."""
    whole = found.steps[0]
    table = Table(
        title="removing one member after another", title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1)
    )
    table.add_column("without", overflow="fold")
    for column in ("members", "ms per row", "of all", "OOF NLL", "±", "accuracy", "±"):
        table.add_column(column, justify="right", no_wrap=True)
    before = set(whole.left)
    for step in found.steps:
        gone = before - set(step.left)
        before = set(step.left)
        change = step.change
        figures = ("", "", "", "") if step is whole else _figures(change)
        table.add_row(
            ", ".join(found.names[m] for m in sorted(gone)) or "–",
            str(len(step.left)),
            f"{step.cost:.3g}",
            f"{step.cost / whole.cost:.0%}",
            *figures,
            style="bold" if step is chosen else "",
        )
    return table


def as_lines(found: PruningPath, chosen: PrunedEnsemble | None, written: Mapping[str, Any] | None) -> Iterator[str]:
    """The members that can be removed, and the effect; or the bundle that was written, and its metrics."""
    whole = found.steps[0]
    if chosen is None:
        yield _offer(found)
        return
    if written is None:
        yield "the full ensemble meets the goal; nothing was written"
        return
    yield f"remaining: {', '.join(written['members'])}; {_saved(chosen, whole)}"
    after, before = written["metrics"]["test"], written["before"]["test"]
    if after and before:
        yield (
            f"test: NLL {before['nll']:.4f} before, {after['nll']:.4f} now; accuracy {before['accuracy']:.4f} before, "
            f"{after['accuracy']:.4f} now"
        )
    yield f"measured again: {written['predict_ms']:.3g} ms per row, {whole.cost:.3g} before"
    yield f"{written['bundle']}"


def _offer(found: PruningPath) -> str:
    """The fastest ensemble whose log-loss is within the noise of the full one, and the command that writes it."""
    whole = found.steps[0]
    free = [step for step in found.steps[1:] if step.change.nll <= Z * step.change.nll_error < math.inf]
    if not free:
        return (
            "every member improves the ensemble beyond the noise; to remove some anyway, use --members, --max-latency "
            "or --loss"
        )
    least = min(free, key=lambda step: step.cost)
    gone = [name for m, name in enumerate(found.names) if m not in least.left]
    most = math.ceil(max(least.change.nll + least.change.nll_error, 0.0) * 1e4) / 1e4
    return f"drop {', '.join(gone)}: {_saved(least, whole)}, log-loss within the noise (quorate prune --loss {most:g})"


def _saved(step: PrunedEnsemble, whole: PrunedEnsemble) -> str:
    change = step.change
    return (
        f"{1 - step.cost / whole.cost:.0%} faster, OOF NLL {change.nll:+.4f} ± {Z * change.nll_error:.4f}, accuracy "
        f"{change.accuracy:+.4f} ± {Z * change.accuracy_error:.4f}"
    )


def _figures(change: EnsembleChange) -> tuple[str, str, str, str]:
    return (
        f"{change.nll:+.4f}",
        f"{Z * change.nll_error:.4f}",
        f"{change.accuracy:+.4f}",
        f"{Z * change.accuracy_error:.4f}",
    )
