"""The portfolio: published configurations of members, in the order in which a job tries them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from quorate.data.signature import ImageSignature, Signature
from quorate.registry import MEMBERS, Spec

_FILE = Path(__file__).with_name("portfolio.yaml")
_MOST_EPOCHS, _LEAST_EPOCHS = 40, {"table": 5, "image": 10}
"""Limits of the number of epochs of a network. Assumptions, not measurements."""
_LONG_EPOCHS, _LONG_ROWS = 80, 1000
"""Maximum number of epochs for tables with at least this number of rows. Measured in docs/defaults.md: from about 1,000
rows, 80 epochs are better than 40; with a few hundred rows they are worse."""
_LARGE_BATCH, _LARGE_ROWS = 256, 10_000
"""Batch size for tables with at least this number of rows; the learning rate grows with it (Goyal et al., 2017). The
numbers are assumptions."""
_USUAL_BATCH = 64

Of = Literal["table", "image"]


class PortfolioEntry(Spec):
    """A configuration of a member, from `portfolio.yaml`, which explains the fields."""

    name: str
    source: str
    params: dict[str, Any]
    rows: tuple[int, int] = (0, 1_000_000_000)
    sides: tuple[int, int] = (0, 1_000_000_000)
    rows_seen: int | None = Field(None, ge=1)
    cheaper: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether the optional package that the kind requires is available."""
        package = MEMBERS.get(self.params["kind"]).Params.needs_package
        return not package or importlib.util.find_spec(package) is not None

    def suits(self, signature: Signature, rows: int) -> bool:
        """Whether the entry is meant for such data with `rows` training rows in a fold."""
        side = min(signature.shape[:2]) if isinstance(signature, ImageSignature) else 0
        return self.rows[0] <= rows <= self.rows[1] and self.sides[0] <= side <= self.sides[1]

    def epochs(self, of: Of, rows: int) -> int | None:
        """The number of epochs of a network for `rows` training rows; None for other kinds."""
        if self.rows_seen is None:
            return None
        most = _LONG_EPOCHS if of == "table" and rows >= _LONG_ROWS else _MOST_EPOCHS
        return min(most, max(_LEAST_EPOCHS[of], round(self.rows_seen / rows)))

    def member(self, of: Of, rows: int) -> dict[str, Any]:
        """The parameters of the member for `rows` training rows, as in a job file."""
        epochs = self.epochs(of, rows)
        if epochs is None:
            return dict(self.params)
        own: dict[str, Any] = {**self.params, **batch_size(rows), "epochs": epochs}
        if of == "table" and rows >= _LARGE_ROWS:
            own |= {"batch_size": _LARGE_BATCH, "lr": self.params["lr"] * _LARGE_BATCH / _USUAL_BATCH}
        return own


def batch_size(rows: int) -> dict[str, int]:
    """For few rows, a batch size below the default, so that an epoch has enough steps."""
    return {} if rows >= 1000 else {"batch_size": 32 if rows >= 300 else 16}


def kind_of_data(signature: Signature) -> Of:
    """The part of the portfolio for such data."""
    return "image" if isinstance(signature, ImageSignature) else "table"


def portfolio(signature: Signature, rows: int) -> tuple[PortfolioEntry, ...]:
    """The entries for such data with `rows` training rows in a fold, in their order, whose packages are installed."""
    entries = every_entry()[kind_of_data(signature)]
    return tuple(entry for entry in entries if entry.is_installed and entry.suits(signature, rows))


@cache
def every_entry() -> Mapping[Of, tuple[PortfolioEntry, ...]]:
    """All entries, in their order."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[Of, tuple[PortfolioEntry, ...]]).validate_python(content)
