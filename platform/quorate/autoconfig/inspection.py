"""Compute the fingerprint of data, and reject data from which no classifier can learn."""

from __future__ import annotations

from quorate.autoconfig.archive import inspect_archive
from quorate.autoconfig.columns import inspect_table
from quorate.autoconfig.fingerprint import Fingerprint, TableFacts
from quorate.autoconfig.folder import inspect_folder
from quorate.autoconfig.source import DataLocation
from quorate.errors import UserError


def inspect_data(source: DataLocation, *, label: str | None = None) -> Fingerprint:
    """The fingerprint of the data; raises `UserError` if no classifier can learn from them."""
    if label is not None and source.kind not in ("csv", "parquet"):
        raise UserError(f"--label is for tables, but {source.train} is not a table; leave it out")
    if source.kind == "npz":
        fingerprint = inspect_archive(source)
    elif source.kind == "image_folder":
        fingerprint = inspect_folder(source)
    else:
        fingerprint = inspect_table(source, label)
    _check_classes(fingerprint)
    return fingerprint


def _check_classes(fingerprint: Fingerprint) -> None:
    """Raise `UserError` unless there are two classes with two rows each: one to train on and one to validate on."""
    classes = {name: count for name, count in fingerprint.classes.items() if count}
    train, facts = fingerprint.source.train, fingerprint.facts
    table = isinstance(facts, TableFacts)
    guess = table and facts.guess  # type: ignore[union-attr]
    other = "; if another column holds the classes, give it with --label" if guess else ""
    if len(classes) < 2:
        (only,) = classes
        where = f" in the column {facts.label!r}" if isinstance(facts, TableFacts) else ""
        raise UserError(
            f"{train}: all rows have the class {only!r}{where}; a classifier needs at least two classes{other}"
        )
    single = [name for name, count in classes.items() if count == 1]
    if not single:
        return
    named = ", ".join(single[:5]) + (f" and {len(single) - 5} more" if len(single) > 5 else "")
    many = len(single) > 1
    if fingerprint.source.kind == "image_folder":
        what = "have only one picture each" if many else "has only one picture"
        fix = (
            "add pictures to these folders, or remove them"
            if many
            else "add pictures to its folder, or remove the folder"
        )
    else:
        what = "have only one row each" if many else "has only one row"
        fix = "add rows, give these rows another class, or remove them"
    broken = " that can be read" if getattr(facts, "corrupt", ()) else ""
    raise UserError(
        f"{train}: the class{'es' if many else ''} {named} {what}{broken}, but a class needs at least two, "
        f"one for training and one for validation; {fix}{other}"
    )
