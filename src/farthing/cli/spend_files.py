"""Files of `farthing spend`: the ledger's rows out, a provider's invoice in."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from farthing.accounts.accounts import Accounts, InvoiceRow

Form = Literal["csv", "json", "focus"]


async def write_rows(
    accounts: Accounts, form: Form, *, since: float | None, until: float | None
) -> None:
    """Print every row of the span on standard output, page by page."""
    from farthing.accounts.export import csv_lines, focus, json_lines, plain

    names = {key.id: key.name for key in await accounts.keys.list()}
    make = focus if form == "focus" else plain
    rows = (make(entry, names) async for entry in accounts.export(since=since, until=until))
    async for line in json_lines(rows) if form == "json" else csv_lines(rows):
        click.echo(line, nl=False)


def read_invoice(path: str) -> list[InvoiceRow]:
    """A CSV file with a head, or JSON lines: `dollars`, and `request_id` or `call_id` on each row.

    Raises ConfigError with the line.
    """
    from farthing.accounts.accounts import InvoiceRow
    from farthing.core.errors import ConfigError
    from farthing.core.money import parse_dollars

    rows = []
    for number, row in _records(path):
        try:
            if not row.get("request_id") and not row.get("call_id"):
                raise ValueError("it has neither request_id nor call_id")
            rows.append(
                InvoiceRow(
                    nanodollars=parse_dollars(row["dollars"]),
                    request_id=row.get("request_id") or None,
                    call_id=row.get("call_id") or None,
                )
            )
        except (KeyError, ValueError) as error:
            what = "it has no dollars" if isinstance(error, KeyError) else str(error)
            raise ConfigError(
                f"This row of the invoice cannot be read: {what}.",
                hint="Each row needs dollars (a decimal number), and request_id or call_id.",
                path=path,
                line=number,
            ) from None
    return rows


def _records(path: str) -> list[tuple[int, dict[str, str]]]:
    from farthing.core.errors import ConfigError

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The invoice cannot be read: {error}.", path=path) from None
    if not text.lstrip().startswith("{"):
        reader = csv.DictReader(text.splitlines())
        return [(reader.line_num, row) for row in reader]
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line, parse_float=str, parse_int=str) if line.strip() else None
        except ValueError:
            row = {}
        if row is not None:
            row = row if isinstance(row, dict) else {}
            records.append((number, {k: str(v) for k, v in row.items() if v is not None}))
    return records
