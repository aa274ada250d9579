"""How commands speak: tables for people, JSON for programs, one style for both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Column(NamedTuple):
    """One column of a table. Numbers are aligned right."""

    title: str
    align: Literal["left", "right"] = "left"


def json_option(command: F) -> F:
    """Give a command `--json`; its function receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(value: object) -> None:
    """One JSON document on standard output, indented, msgspec's records and dates included."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    empty: str = "Nothing to show.",
) -> None:
    """A table as wide as the terminal. Without a terminal: plain columns, nothing cut, nothing coloured."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if title:
        click.secho(title, bold=True)
    if not texts:
        click.echo(empty)
    elif sys.stdout.isatty():
        _print_rich(heads, texts)
    else:
        _print_plain(heads, texts)


def note(message: str) -> None:
    """A sentence beside the result, on standard error so that pipes stay clean."""
    click.echo(message, err=True)


def _print_rich(heads: list[Column], texts: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head.title, justify=head.align, overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _print_plain(heads: list[Column], texts: list[list[str]]) -> None:
    lines = [[head.title for head in heads], *texts]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    for line in lines:
        cells = (
            cell.rjust(width) if head.align == "right" else cell.ljust(width)
            for cell, width, head in zip(line, widths, heads, strict=True)
        )
        click.echo("  ".join(cells).rstrip())
