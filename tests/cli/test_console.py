"""The console prints text as it is."""

from __future__ import annotations

import pytest
from rich.table import Table

from quorate.cli.console import make_console


def test_names_that_look_like_markup_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()

    console.print("scores are in data[/x]/[bold]:car:")
    console.print(Table("[red]a", title="run [/b]"))

    out = capsys.readouterr().out
    assert "scores are in data[/x]/[bold]:car:" in out and "[red]a" in out and "run [/b]" in out
