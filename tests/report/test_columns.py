"""Tables that fit the terminal: columns are left out, and names and numbers are never cut."""

from __future__ import annotations

import io

from rich.console import Console

from quorate.report.columns import UNLIMITED, FittedTable, TableColumn, fit

NAMES = ["convolutional_network_with_seed_a", "convolutional_network_with_seed_b"]


def made(width: int) -> FittedTable:
    columns = [
        TableColumn("member", NAMES, justify="left"),
        TableColumn("loss", ["0.1234", "0.5678"]),
        TableColumn("less", ["1.2345", "6.7890"], 1),
        TableColumn("least", ["a longer text", "another"], 2),
    ]
    return fit(columns, width=width, box=None, padding=(0, 0, 0, 1))


def shown(fitted: FittedTable, width: int) -> str:
    text = io.StringIO()
    Console(width=width, color_system=None, file=text).print(fitted.table)
    return text.getvalue()


def test_the_columns_of_the_highest_rank_are_left_out_first() -> None:
    whole = 34 + 7 + 7 + 14

    assert made(UNLIMITED).left_out == made(whole).left_out == ()
    assert made(whole - 1).left_out == ("least",)
    assert made(34 + 7).left_out == ("less", "least")


def test_names_and_numbers_are_complete_if_the_first_columns_fit() -> None:
    for width in (34 + 7, 50, 62, 100):
        text = shown(made(width), width)
        assert "…" not in text
        assert all(name in text for name in (*NAMES, "0.1234", "0.5678"))
        assert max(map(len, text.splitlines())) <= width


def test_if_no_column_can_be_left_out_names_take_a_second_line() -> None:
    text = shown(made(30), 30)

    assert "…" not in text
    assert "".join(line[:23].strip() for line in text.splitlines()[1:3]) == NAMES[0]
