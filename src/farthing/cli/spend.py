"""`farthing spend`: what was spent, what is held, and what a provider's invoice says to it."""

from __future__ import annotations

import csv
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import click

from farthing.cli.output import Column, json_option, print_json, print_table
from farthing.cli.spend_files import Form, read_invoice, write_rows

if TYPE_CHECKING:
    from farthing.accounts.accounts import SpendRow, Unsettled

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_By = Literal["key", "model", "team", "tag", "day", "deployment", "provider", "total"]
_BY = ["key", "model", "team", "tag", "day", "deployment", "provider", "total"]


@click.command()
@click.option("--by", type=click.Choice(_BY), default="model", show_default=True)
@click.option("--since", help="How far back (30m, 24h, 7d, 4w) or a UTC date. Unset: everything.")
@click.option("--until", help="End of the span, exclusive, in the same forms. Unset: now.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, amounts in nanodollars.")
@click.option(
    "--rows",
    type=click.Choice(["csv", "json", "focus"]),
    help="Print every row instead of sums; focus: CSV in FOCUS 1.2.",
)
@click.option("--focus", is_flag=True, help="The same as --rows focus.")
@click.option(
    "--reconcile", metavar="FILE", help="Correct the ledger by an invoice (CSV, JSON lines)."
)
@click.option("--unsettled", is_flag=True, help="List the calls whose cost is not final.")
@click.option("--confirm", nargs=2, metavar="CALL DOLLARS", help="Book what a call cost.")
@click.option("--release", metavar="CALL", help="Free what is held for a call.")
@json_option
def spend(
    by: _By,
    since: str | None,
    until: str | None,
    as_csv: bool,
    rows: Form | None,
    focus: bool,
    reconcile: str | None,
    unsettled: bool,
    confirm: tuple[str, str] | None,
    release: str | None,
    as_json: bool,
) -> None:
    """Show what was spent, by key, model, team, tag or day."""
    from farthing.accounts.accounts import SpendQuery
    from farthing.base.clock import SystemClock
    from farthing.cli.ledgers import with_accounts

    if sum(map(bool, (unsettled, confirm, release, reconcile, rows or focus))) > 1:
        raise click.UsageError(
            "Give one of --unsettled, --confirm, --release, --reconcile, --rows."
        )
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
    elif reconcile is not None:
        _reconcile(reconcile, as_json=as_json)
    else:
        now = SystemClock().now()
        start, end = (_moment(since, now, "--since"), _moment(until, now, "--until"))
        form: Form | None = "focus" if focus else rows
        if form is not None:
            with_accounts(lambda accounts: write_rows(accounts, form, since=start, until=end))
            return
        query = SpendQuery(by=by, since=start, until=end)
        found = with_accounts(lambda accounts: accounts.spend(query))
        _print_spend(found, by, as_json=as_json, as_csv=as_csv)


def _reconcile(path: str, *, as_json: bool) -> None:
    from farthing.cli.ledgers import with_accounts
    from farthing.core.money import format_dollars

    lines = read_invoice(path)
    done = with_accounts(lambda accounts: accounts.reconcile(lines))
    if as_json:
        print_json(done)
        return
    click.echo(
        f"Lines: {len(lines)}, of them {done.matched} matched, {done.corrected} corrected, "
        f"{done.settled} that settled a hold, {len(done.unknown)} unknown here. "
        f"The ledger changed by {format_dollars(done.difference_nanodollars)}."
    )
    for name in done.unknown:
        click.echo(f"unknown: {name}")


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


def _moment(text: str | None, now: float, option: str) -> float | None:
    """`7d` ago, or the first moment of a UTC date, in unix seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if match is not None:
        return now - int(match[1]) * _UNITS_S[match[2]]
    try:
        moment = datetime.fromisoformat(text) if "-" in text else None
    except ValueError:
        moment = None
    if moment is None:
        raise click.BadParameter("write it like 30m, 24h, 7d, 4w or 2026-11-01.", param_hint=option)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
