"""Write a job file in which the chosen trials of a search are members."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from quorate.autoconfig.job_file import CommentedEntry, as_yaml, comment, write_checked
from quorate.plan.identity import identity_of
from quorate.registry.parameter_names import field_named
from quorate.runs.search_record import SearchRecord, TrialRecord
from quorate.spec import Job, load_job
from quorate.spec.file import read

_DEPTH = 3
"""Mappings up to this depth have a line for each key: `members`, a member, and its parameters."""


def emit_job(path: Path, job_file: Path, overrides: Sequence[str], job: Job, record: SearchRecord) -> None:
    """Write the job with the chosen trials in the place of the member that was searched.

    The trials keep their names, and with them their seeds and keys: a job with this file trains none of them again.
    Raises `UserError` if the file cannot be written.
    """
    tree = read(job_file, overrides, expand=False).tree
    if path.absolute().parent.resolve() != job_file.absolute().parent.resolve():
        tree = _moved(tree, job.spec, path.absolute().parent)
    chosen = chosen_trials(record)
    copies = job.spec.members[record.member].copies
    members: dict[str, Any] = {}
    for name, params in tree["members"].items():
        if name != record.member:
            members[name] = params
            continue
        for trial in chosen:
            members[trial.name] = {**trial.member, **({"copies": copies} if copies > 1 else {})}
    head = comment(
        f"Written by quorate tune: in {job_file.name}, {record.member} is replaced by the best of "
        f"{len(record.trials)} trials (run {record.run})"
    )

    def check(draft: Path) -> None:
        made = load_job(draft).spec.members
        for trial in chosen:
            kind = type(made[trial.name])
            assert identity_of(made[trial.name]) == identity_of(kind.model_validate(trial.member)), "it keeps its keys"

    write_checked(path, head + as_yaml(_entries({**tree, "members": members}, 1)), check)


def chosen_trials(record: SearchRecord) -> list[TrialRecord]:
    """The trials that become members: those of the greedy ensemble if there is one, otherwise the best one."""
    greedy = next((choice for choice in record.choices if choice.rule.startswith("greedy")), None)
    if greedy is not None:
        return [record.trial(name) for name in greedy.trials]
    return [record.best] if record.best is not None else []


def _entries(tree: Mapping[str, Any], depth: int) -> list[CommentedEntry]:
    return [
        CommentedEntry(key, below=tuple(_entries(value, depth + 1)))
        if isinstance(value, Mapping) and value and depth < _DEPTH
        else CommentedEntry(key, value)
        for key, value in tree.items()
    ]


def _moved(tree: Any, spec: Any, folder: Path) -> Any:
    """The tree with its paths relative to another folder; `spec` are the values that it describes."""
    if isinstance(spec, Path) and isinstance(tree, str) and "${" not in tree:
        return os.path.relpath(spec, folder.resolve())
    if isinstance(tree, Mapping):
        return {key: _moved(value, _below(spec, key), folder) for key, value in tree.items()}
    if isinstance(tree, list) and isinstance(spec, list | tuple) and len(tree) == len(spec):
        return [_moved(value, inner, folder) for value, inner in zip(tree, spec, strict=True)]
    return tree


def _below(spec: Any, key: str) -> Any:
    if isinstance(spec, BaseModel):
        return getattr(spec, field_named(type(spec), key), None)
    return spec.get(key) if isinstance(spec, Mapping) else None
