"""The text of the job file: the fingerprint as a header comment, then the choices of the rules."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quorate.autoconfig.fingerprint import Fingerprint, ImageFacts, TableFacts
from quorate.autoconfig.image_members import are_large, augmentation, pretrained
from quorate.autoconfig.job_file import CommentedEntry, as_yaml, comment
from quorate.autoconfig.rules import IMBALANCED, TEST_PART, DataChoices, JobChoices, data_choices
from quorate.autoconfig.selection import ChosenMember
from quorate.autoconfig.source import DataLocation
from quorate.autoconfig.summary import column_lines, describe_facts, first_names
from quorate.data.signature import ImageSignature
from quorate.errors import UserError
from quorate.spec import Job
from quorate.spec.file import Source
from quorate.spec.job import validate

_SHORT = 3
"""Maximum number of keys for a member to be written on one line."""


def job_text(fingerprint: Fingerprint, choices: JobChoices, *, base: Path, budget: str, hub: bool) -> str:
    """The text of a job file in the folder `base`; raises `UserError` for paths that a job file cannot contain."""
    parts = [
        _head(fingerprint),
        as_yaml([CommentedEntry("name", choices.name), CommentedEntry("seed", 0)]),
        as_yaml([CommentedEntry("data", below=tuple(_data(fingerprint, choices, base)))]),
        as_yaml([_validation(choices)]),
        *_members(fingerprint, choices, hub, base),
        as_yaml(
            [
                CommentedEntry(
                    "combiner",
                    "calibrated_greedy",
                    why="one temperature per member, greedy selection, one for the ensemble",
                )
            ]
        ),
        as_yaml([CommentedEntry("grow", True, why="goes on within the budget while more members lower the loss")]),
        as_yaml(
            [
                CommentedEntry(
                    "execution",
                    {"budget": budget},
                    why="when the time is up, the job ends with the best ensemble so far; a new start continues it",
                )
            ]
        ),
    ]
    return "\n".join(parts)


def job_of_data(fingerprint: Fingerprint) -> Job:
    """A job on these data, opened as `init` would open them, whose only member is a placeholder; raises `UserError` and
    `SpecError`."""
    data = {entry.key: entry.value for entry in _data(fingerprint, data_choices(fingerprint), Path())}
    return validate(Source("", {"data": data, "members": {"knn": "knn"}}, {}), base=Path())


def _head(fingerprint: Fingerprint) -> str:
    lines = [
        "# Written by quorate init. The comments explain each choice. Change a choice if you know a better one.",
        "#",
    ]
    for what, said in describe_facts(fingerprint):
        lines += comment(said, head=f"{what:<18}").splitlines()
    if isinstance(fingerprint.facts, TableFacts):
        rows = [("column", "kind", "missing", "distinct", ""), *column_lines(fingerprint.facts)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines.append("#")
        for name, kind, missing, distinct, remark in rows:
            left = f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {missing:>{widths[2]}}  {distinct:>{widths[3]}}"
            lines.append(f"#   {left}  {remark}".rstrip())
    return "\n".join(lines) + "\n"


def _data(fingerprint: Fingerprint, choices: DataChoices, base: Path) -> Iterator[CommentedEntry]:
    facts, source = fingerprint.facts, fingerprint.source
    yield CommentedEntry("kind", source.kind)
    yield CommentedEntry("train", _address(source, source.train, base))
    if source.test is not None:
        yield CommentedEntry("test", _address(source, source.test, base), why=choices.why_test)
    elif choices.held_out:
        yield CommentedEntry("test", {"fraction": TEST_PART}, why=choices.why_test)
    else:
        yield CommentedEntry("test", None, why=choices.why_test)
    if isinstance(facts, ImageFacts):
        yield from _pictures(facts, choices, source, base, sampled=bool(fingerprint.partly))
    else:
        yield from _table(facts)


def _pictures(
    facts: ImageFacts, choices: DataChoices, source: DataLocation, base: Path, *, sampled: bool
) -> Iterator[CommentedEntry]:
    if choices.size is not None:
        yield CommentedEntry("size", choices.size, why=choices.why_size)
        colour = "the pictures have colour" if facts.channels == 3 else "almost no picture has colour"
        yield CommentedEntry("channels", facts.channels, why=colour)
        if facts.corrupt:
            names = first_names([Path(line.partition(": ")[0]).name for line in facts.corrupt], 3)
            what = "file is" if len(facts.corrupt) == 1 else "files are"
            why = f"{len(facts.corrupt):,} of {facts.files:,} {what} corrupt: {names}"
            yield CommentedEntry("on_corrupt", "skip", why=why)
        elif sampled:
            yield CommentedEntry(
                "on_corrupt",
                "skip",
                why="only a sample of the files was checked; the job reports the number of corrupt files",
            )
        return
    for key, name in zip(("images", "labels"), facts.arrays, strict=True):
        if name != key:
            yield CommentedEntry(key, _free(name), why=f"the array with the {key}")
    if facts.class_file:
        yield CommentedEntry(
            "classes", _address(source, source.train.parent / "classes.txt", base), why="names of the integer labels"
        )


def _table(facts: TableFacts) -> Iterator[CommentedEntry]:
    if facts.separator != ",":
        yield CommentedEntry("separator", facts.separator, why="the most frequent separator in the first line")
    yield CommentedEntry("label", _free(facts.label), why=f"a guess: {facts.guess}" if facts.guess else "")
    for hint in facts.hints:
        if hint.key is not None:
            yield CommentedEntry(hint.key, _free(hint.column), why=f"{hint.why}; split by it if so", off=True)
    ignored = [column for column in facts.columns if column.ignore]
    if ignored:
        below = tuple(CommentedEntry(column.name, "ignore", why=column.ignore) for column in ignored)
        yield CommentedEntry("columns", below=below, why="remove a line to use its column as a feature")


def _validation(choices: JobChoices) -> CommentedEntry:
    split = choices.validation
    value: dict[str, Any] = {"scheme": "kfold", "folds": split.folds}
    if split.folds == 1:
        value = {"scheme": "holdout", "fraction": split.fraction}
    return CommentedEntry("validation", value, why=split.why)


def _members(fingerprint: Fingerprint, choices: JobChoices, hub: bool, base: Path) -> Iterator[str]:
    facts, selection = fingerprint.facts, choices.selection
    notes = ["Numbers of epochs and copies are chosen so that the estimated training time fits into the budget."]
    if not selection.complete:
        notes = [
            "The budget is short for these data: only members that fit into it are used. A longer budget allows more."
        ]
    if fingerprint.imbalance > IMBALANCED:
        notes.append(
            f"The largest class has {fingerprint.imbalance:.0f} times as many rows as the smallest. Members have no "
            "class weights, because weights distort the probabilities and raise the log-loss. If the recall of rare "
            "classes matters more than the log-loss, add `class_weight: balanced` to the members."
        )
    if isinstance(facts, ImageFacts) and not are_large(facts) and not facts.keeps_mirrored:
        notes.append(
            "Add `mirror: true` to `augment` if a mirrored image still has the same class (not so for digits or "
            "letters)."
        )
    blocks = [as_yaml([_member(one, base)], 2) for one in selection.members]
    if isinstance(facts, ImageFacts) and are_large(facts) and not hub:
        size = choices.size or facts.height.median
        signature = ImageSignature((size, choices.size or facts.width.median, facts.channels))
        why = "ImageNet weights, downloaded when training starts; commented out because the hub could not be reached"
        params = pretrained(signature, augmentation(facts, signature))
        blocks.append(as_yaml([_member(ChosenMember("pretrained", why, params, 0.0), base, off=True)], 2))
    for one in selection.left_out:
        cost = f"about {one.fit_seconds:,.0f} core seconds per fold"
        blocks.append(comment(f"left out: {one.name} ({one.params['kind']}), {one.why}; {cost}", 2))
    yield "".join(comment(note) for note in notes) + "members:\n" + "\n".join(blocks)


def _member(one: ChosenMember, base: Path, *, off: bool = False) -> CommentedEntry:
    params = _with_paths(one.params, base)
    if "copies" in params:
        params = {"kind": params.pop("kind"), "copies": params.pop("copies"), **params}
    if len(params) <= _SHORT and not any(isinstance(value, dict) for value in params.values()):
        return CommentedEntry(one.name, params, why=one.why, off=off)
    features = params.pop("features", None)
    below = [CommentedEntry(key, value) for key, value in params.items()]
    if features is not None:
        below.append(CommentedEntry("features", below=tuple(CommentedEntry(*item) for item in features.items())))
    return CommentedEntry(one.name, below=tuple(below), why=one.why, off=off)


def _with_paths(params: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The parameters, with the paths of weights files relative to the folder of the job file."""
    given: dict[str, Any] = {}
    for key, value in params.items():
        if key == "features":
            given[key] = _with_paths(value, base)
        elif key == "of":
            given[key] = [_with_paths(one, base) for one in value]
        else:
            given[key] = _path(Path(value), base) if key == "weights" and value != "hub" else value
    return given


def _address(source: DataLocation, path: Path, base: Path) -> str:
    """The URL of data that were copied from one; otherwise their path."""
    url = source.given.url_of(path)
    return _path(path, base) if url is None else _free(url)


def _path(path: Path, base: Path) -> str:
    """The path relative to the folder of the job file, so that the job file and the data can be moved together."""
    whole, folder = os.path.abspath(path), os.path.abspath(base)  # noqa: PTH100 - without `..`, links as they are
    text = os.path.relpath(whole, folder)
    if not os.path.exists(os.path.join(folder, text)):  # noqa: PTH110, PTH118 - `..` behind a link leads elsewhere
        text = os.path.relpath(os.path.realpath(whole), os.path.realpath(folder))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"the path {str(path)!r} is not UTF-8, but job files must be UTF-8; rename it") from None
    return _free(text)


def _free(text: str) -> str:
    if "${" in text:
        raise UserError(f"{text!r} contains '${{', which marks a variable in a job file; rename it")
    return text
