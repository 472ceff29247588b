"""`quorate list`: list the kinds that a job file can use, and their keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import JsonOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from quorate.spec.catalogue import KindEntry


def list_kinds(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[members|archs|augmentations|combiners|datasets|initializations|optimizers|pretrainings|schedules]",
            help="What to list. Default: everything.",
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Show the keys of this kind, e.g. `members svm`.")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="List only names that contain TEXT, including names in families, e.g. `archs --match resnet10`.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the kinds that a job file can use, or the keys of one kind."""
    from quorate.errors import UserError
    from quorate.registry import did_you_mean
    from quorate.registry.extras import how_to_install_package
    from quorate.registry.own_code import add_search_folders
    from quorate.spec.catalogue import REGISTRIES, entries

    if what is not None and what not in REGISTRIES:
        choices = list(REGISTRIES)
        raise UserError(f"cannot list {what!r}{did_you_mean(what, choices)} (choose from {', '.join(choices)})")
    look_in_here = kind is not None and ":" in kind
    if look_in_here:
        from pathlib import Path

        add_search_folders(Path())
    if what is not None and kind is not None:
        if match is not None:
            raise UserError("--match works for lists only; leave out --match or the kind")
        _show_kind(what, kind, as_json=json)
        return
    found = {
        name: [entry for entry in (_matching(entry, match) for entry in entries(name)) if entry is not None]
        for name in ([what] if what is not None else REGISTRIES)
    }
    if json:
        typer.echo(json_text({name: [asdict(entry) for entry in kinds] for name, kinds in found.items()}, indent=None))
        return

    console = make_console()
    for name, kinds in found.items():
        if kinds:
            console.print(_table(name, kinds, listed=match is not None))
    for missing in dict.fromkeys(entry.missing for kinds in found.values() for entry in kinds if entry.missing):
        said = f"{missing} is not installed: {how_to_install_package(missing)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if not any(found.values()):
        console.print(f"no name contains {match!r}", highlight=False, markup=False)


def _matching(entry: KindEntry, text: str | None) -> KindEntry | None:
    """The entry if its name contains `text`, otherwise None; a family is reduced to the names that contain `text`."""
    from dataclasses import replace

    if text is None:
        return entry
    names = [name for name in entry.family if text.lower() in name.lower()]
    return replace(entry, family=names) if names or text.lower() in entry.name.lower() else None


def _table(name: str, kinds: list[KindEntry], *, listed: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False, expand=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(no_wrap=True)
    for entry in kinds:
        count = f" ({len(entry.family):,} names; search with --match TEXT)" if entry.family and not listed else ""
        table.add_row(Text(f"  {entry.name}"), Text(entry.description + count), Text(entry.origin, style="dim"))
        for member in entry.family if listed else ():
            table.add_row(Text(f"    {member}"))
    return table


def _show_kind(what: str, name: str, *, as_json: bool) -> None:
    from quorate.errors import UserError
    from quorate.registry import UnknownKind
    from quorate.registry.extras import how_to_install_package
    from quorate.spec.catalogue import entry, parameters

    try:
        kind, takes = entry(what, name), parameters(what, name)
    except UnknownKind as error:
        raise UserError(str(error)) from None
    if as_json:
        about = {key: value for key, value in asdict(kind).items() if key != "family"}
        typer.echo(json_text(about | {"parameters": [asdict(parameter) for parameter in takes]}))
        return
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    console.print(Text(f"{kind.name} ({kind.origin}): {kind.description}"))
    if kind.missing:
        said = f"{kind.missing} is not installed: {how_to_install_package(kind.missing)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("key", "value", "default", "meaning"):
        table.add_column(head, no_wrap=head == "key", overflow="fold")
    for parameter in takes:
        table.add_row(*map(Text, (parameter.name, parameter.type, parameter.default, parameter.meaning)))
    console.print(table if takes else "It takes no keys.")
