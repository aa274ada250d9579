"""`farthing spend`: what was spent, what is held, and what a provider's invoice says to it."""

from __future__ import annotations

import csv
import re
import sys
from typing import TYPE_CHECKING, Literal

import click

from farthing.cli.output import Column, json_option, print_json, print_table

if TYPE_CHECKING:
    from farthing.accounts.accounts import SpendRow, Unsettled

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_By = Literal["key", "model", "team", "tag", "day", "deployment", "provider", "total"]
_BY = ["key", "model", "team", "tag", "day", "deployment", "provider", "total"]


@click.command()
@click.option("--by", type=click.Choice(_BY), default="model", show_default=True)
@click.option("--since", help="How far back: 30m, 24h, 7d, 4w. Unset: everything.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, amounts in nanodollars.")
@click.option("--unsettled", is_flag=True, help="List the calls whose cost is not final.")
@click.option("--confirm", nargs=2, metavar="CALL DOLLARS", help="Book what a call cost.")
@click.option("--release", metavar="CALL", help="Free what is held for a call.")
@json_option
def spend(
    by: _By,
    since: str | None,
    as_csv: bool,
    unsettled: bool,
    confirm: tuple[str, str] | None,
    release: str | None,
    as_json: bool,
) -> None:
    """Show what was spent, by key, model, team, tag or day."""
    from farthing.accounts.accounts import SpendQuery
    from farthing.base.clock import SystemClock
    from farthing.cli.ledgers import with_accounts

    if sum(map(bool, (unsettled, confirm, release))) > 1:
        raise click.UsageError("Give one of --unsettled, --confirm and --release.")
    if confirm is not None:
        call, dollars = confirm
        amount = _amount(dollars)
        with_accounts(lambda accounts: accounts.confirm(call, amount))
        _done(call, "confirmed", as_json=as_json)
    elif release is not None:
        with_accounts(lambda accounts: accounts.release_unsettled(release))
        _done(release, "released", as_json=as_json)
    elif unsettled:
        _print_unsettled(with_accounts(lambda accounts: accounts.unsettled()), as_json=as_json)
    else:
        start = None if since is None else SystemClock().now() - _seconds(since)
        query = SpendQuery(by=by, since=start)
        rows = with_accounts(lambda accounts: accounts.spend(query))
        _print_spend(rows, by, as_json=as_json, as_csv=as_csv)


def _print_spend(rows: list[SpendRow], by: str, *, as_json: bool, as_csv: bool) -> None:
    from farthing.core.money import format_dollars

    if as_json:
        print_json(rows)
        return
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(rows[0].__struct_fields__ if rows else ("name",))
        writer.writerows([getattr(row, name) for name in row.__struct_fields__] for row in rows)
        return
    cells = []
    for row in rows:
        real = row.nanodollars - row.simulated_nanodollars
        parts = (row.calls, row.input_tokens, row.cached_input_tokens, row.output_tokens)
        simulated = format_dollars(row.simulated_nanodollars) if row.simulated_nanodollars else ""
        cells.append((row.name, *(f"{part:,}" for part in parts), format_dollars(real), simulated))
    titles = ("calls", "input", "of it cached", "output", "spent", "SIMULATED")
    print_table([by, *(Column(t, "right") for t in titles)], cells, empty="Nothing was spent yet.")


def _print_unsettled(holds: list[Unsettled], *, as_json: bool) -> None:
    from farthing.core.money import format_dollars

    if as_json:
        print_json(holds)
        return
    rows = [(h.call_id, h.state, h.key_id, h.model, format_dollars(h.nanodollars)) for h in holds]
    columns = [*map(Column, ("call", "state", "key", "model")), Column("held", "right")]
    print_table(columns, rows, empty="Every call is settled.")


def _done(call: str, word: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"call_id": call, "state": word})
        return
    click.echo(f"Call {call} is {word}.")


def _amount(text: str) -> int:
    from farthing.core.money import parse_dollars

    try:
        return parse_dollars(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--confirm") from None


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if match is None:
        raise click.BadParameter("write it like 30m, 24h, 7d or 4w.", param_hint="--since")
    return int(match[1]) * _UNITS_S[match[2]]
