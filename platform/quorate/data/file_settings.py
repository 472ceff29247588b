"""Settings of a job's training data that also apply to files of new rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileSettings:
    """Settings of the training data with which `predict`, `evaluate` and `serve` read new rows.

    None means that the data kind does not have the setting; the default of the file format then applies.
    """

    label: str | None = None
    """Column of a table with the classes."""
    labels: str | None = None
    """Name of the label array in an archive."""
    images: str | None = None
    """Name of the image array in an archive."""
    groups: str | None = None
    """Column or array with the group of each row; for a folder, the regular expression that extracts the group from a
    path."""
    missing: tuple[str, ...] | None = None
    """Texts of a table that mean a missing value."""
    separator: str | None = None
    """Character between two values of a CSV file."""
    on_corrupt: str | None = None
    """What to do with pictures that cannot be decoded: `error` or `skip`."""
    resize: int | None = None
    """Length of a picture's shorter side before the centre crop, in pixels."""
