"""`quorate store`: inspect and garbage-collect a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.commands import Command, Group
from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, StoreOption, store_uri
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from quorate.store.collection import Usage

app = typer.Typer(cls=Group, help="Inspect or garbage-collect the store.")


@app.callback(invoke_without_command=True)
def _show_by_default(context: typer.Context, store: StoreOption = None, json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        show(store, json)
    elif store is not None or json:
        from quorate.errors import UserError

        raise UserError(f"put the options after `{context.invoked_subcommand}`")


@app.command(cls=Command)
def show(store: StoreOption = None, json: JsonOption = False) -> None:
    """Show the size of the store, by type of content and by kind of member."""
    from quorate.quantities import format_bytes
    from quorate.store import find_store
    from quorate.store.collection import by_kind, by_space, take_inventory

    uri = store or store_uri()
    inventory = take_inventory(find_store(uri))
    spaces, kinds = by_space(inventory), by_kind(inventory)
    if json:
        said = {"store": uri, "bytes": inventory.size, "spaces": _plain(spaces), "kinds": _plain(kinds)}
        typer.echo(json_text(said))
        return

    console = make_console()
    console.print(f"{uri}: {format_bytes(inventory.size)}", highlight=False, markup=False, soft_wrap=True)
    console.print(_table("what", spaces))
    if kinds:
        console.print(_table("finished fit tasks", kinds, training=True))


@app.command(cls=Command)
def collect(
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Remove the least recently used entries until the store has at most this size."
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Remove entries that no job has used for this time, e.g. 30d or 12h."),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also remove the checkpoints of unfinished fit tasks.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Remove unreferenced data, checkpoints of finished tasks, and what the options select. Jobs may be running."""
    from quorate.quantities import format_bytes, read_bytes, read_seconds
    from quorate.store import find_store
    from quorate.store.collection import RetentionRules, collect

    rules = RetentionRules(
        checkpoints=checkpoints,
        older_than=None if older_than is None else _read(read_seconds, "--older-than", older_than),
        max_size=None if max_size is None else int(_read(read_bytes, "--max-size", max_size)),
    )
    done = collect(find_store(store or store_uri()), rules, dry_run=dry_run)
    if json:
        said = {"dry_run": dry_run, "before": done.before, "after": done.after, "removed": _plain(done.shares)}
        typer.echo(json_text(said))
        return

    console = make_console()
    if done.shares:
        console.print(_table("would be removed" if dry_run else "removed", done.shares))
    verb = "would be removed" if dry_run else "removed"
    console.print(
        f"{format_bytes(done.before - done.after)} {verb}, {format_bytes(done.after)} kept",
        highlight=False,
        markup=False,
    )
    if rules.max_size is not None and done.after > rules.max_size:
        console.print(
            "the other entries are in use by a running job, or were used within the last hour", highlight=False
        )


def _read(read: Callable[[str], float], option: str, text: str) -> float:
    from quorate.errors import UserError

    try:
        return read(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _plain(shares: Mapping[str, Usage]) -> dict[str, dict[str, float]]:
    return {
        name: {"count": share.count, "bytes": share.size, "fit_seconds": round(share.seconds, 2)}
        for name, share in shares.items()
    }


def _table(title: str, shares: Mapping[str, Usage], *, training: bool = False) -> Table:
    from rich.table import Table

    from quorate.quantities import format_bytes, format_seconds

    table = Table(title, box=None, padding=(0, 2, 0, 0))
    for column in ("count", "size", *(["trained for"] if training else [])):
        table.add_column(column, justify="right")
    for name, share in shares.items():
        spent = [format_seconds(share.seconds)] if training else []
        table.add_row(name, f"{share.count:,}", format_bytes(share.size), *spent)
    return table
