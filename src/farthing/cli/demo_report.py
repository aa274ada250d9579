"""What the demo shows: an opening, progress while it runs, and the closing tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import Column, print_table
from farthing.core.money import format_dollars

if TYPE_CHECKING:
    from farthing.cli.demo import Statement
    from farthing.cli.demo_traffic import Outcome
    from farthing.core.calls import CallRecord
    from farthing.gateway.client import Gateway

#: What to try after the demo.
NEXT = (
    ("up", "your own gateway, with the keys and model servers it finds"),
    ('ask "Hello" -m sim/small', "one question through the same pipeline"),
    ("flow new shop --template triage", "that flow, in a folder of yours"),
    ("config init", "a commented settings file to start from"),
)

Show = Callable[[list["Outcome"], str], None]

#: Without a terminal: a line of progress each so many calls.
_LINE_EACH = 100


def opening(url: str, regions: Sequence[str], calls: int) -> None:
    """Say what is about to happen."""
    click.secho("Farthing demo: everything here is SIMULATED, no model is asked.", bold=True)
    click.echo(f"  gateway     {url}")
    click.echo(f"  regions     {', '.join(regions)} (two Azure, one Anthropic)")
    click.echo(
        f"  traffic     {calls} calls in five client dialects, half of them streams; "
        "one region dies on the way"
    )
    click.echo()


@contextmanager
def progress(calls: int) -> Iterator[Show]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stdout.isatty():
        yield _lines(calls)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bars:
        task = bars.add_task("three regions", total=calls, note="")

        def show(outcomes: list[Outcome], scene: str) -> None:
            bars.update(task, completed=len(outcomes), description=scene, note=_tally(outcomes))

        yield show


def _lines(calls: int) -> Show:
    def show(outcomes: list[Outcome], scene: str) -> None:
        if len(outcomes) % _LINE_EACH == 0 or len(outcomes) == calls:
            click.echo(f"{len(outcomes):>6} of {calls}   {scene:<16} {_tally(outcomes)}")

    return show


def _tally(outcomes: list[Outcome]) -> str:
    good = sum(outcome.is_complete for outcome in outcomes)
    return f"{good} answered, {len(outcomes) - good} told that they failed"


async def closing(
    gateway: Gateway,
    records: Sequence[CallRecord],
    outcomes: Sequence[Outcome],
    refusal: Outcome,
    statement: Statement,
) -> None:
    """The tables: money, failures, the refused call, the reconciliation, what to type next."""
    click.echo()
    await _money(gateway)
    _reliability(records, outcomes)
    click.secho("\nOver budget: a key with $0.00005 a day asks for a long answer", bold=True)
    click.echo(f"  {refusal.status}  {refusal.error}")
    _reconciliation(statement)
    click.secho("\nGo on with", bold=True)
    for command, what in NEXT:
        click.echo(f"  {_farthing()} {command:<32}  {what}")


def _farthing() -> str:
    """The command as one types it here: from a checkout's own environment, or installed."""
    local = Path(".venv/bin/farthing")
    return str(local) if local.exists() else "farthing"


async def _money(gateway: Gateway) -> None:
    from farthing.accounts.accounts import SpendQuery

    columns = (
        Column("calls", "right"),
        Column("input tokens", "right"),
        Column("output tokens", "right"),
        Column("cost, SIMULATED", "right"),
    )
    for by, title in (("model", "Cost by model"), ("key", "Cost by key")):
        rows = await gateway.accounts.spend(SpendQuery(by=by))  # type: ignore[arg-type]
        print_table(
            (by, *columns),
            [
                (
                    row.name,
                    f"{row.calls:,}",
                    f"{row.input_tokens:,}",
                    f"{row.output_tokens:,}",
                    format_dollars(row.nanodollars),
                )
                for row in rows
            ],
            title=title,
        )
        click.echo()


def _reliability(records: Sequence[CallRecord], outcomes: Sequence[Outcome]) -> None:
    moved = sum(len({a.deployment for a in record.attempts}) > 1 for record in records)
    cut = sum(
        record.time_to_first_token_s is not None and record.outcome != "ok" for record in records
    )
    whole = sum(o.status == 200 and o.is_complete for o in outcomes)
    lied = sum(o.status == 200 and not o.is_complete for o in outcomes) - cut
    click.secho("Reliability", bold=True)
    click.echo(f"  {whole} of {len(outcomes)} calls answered in full")
    click.echo(f"  {moved} calls moved to another region without the client noticing")
    click.echo(f"  {cut} streams cut after their first content: told so inside the stream")
    click.echo(f"  {max(0, lied)} incomplete answers passed off as complete")
    shapes = Counter(o.shot.dialect for o in outcomes if o.status == 200)
    click.echo("  " + ", ".join(f"{count} {name}" for name, count in sorted(shapes.items())))


def _reconciliation(statement: Statement) -> None:
    done = statement.reconciliation
    click.secho("\nReconciliation with the simulator's own invoice", bold=True)
    click.echo(f"  ledger    {format_dollars(statement.before):>16}   as booked, call by call")
    if done.corrected or done.settled:
        click.echo(
            f"  corrected {format_dollars(done.difference_nanodollars):>16}   {done.corrected} estimates "
            f"and {done.settled} holds of calls whose region died before it stated usage"
        )
    click.echo(
        f"  invoice   {format_dollars(statement.invoice):>16}   {statement.requests:,} requests"
    )
    equal = statement.after == statement.invoice and not done.unknown
    if equal:
        click.secho("  ledger = simulator's invoice: equal to the nanodollar", fg="green")
    else:
        difference = statement.after - statement.invoice
        click.secho(f"  they differ by {format_dollars(difference)}", fg="red")
        raise SystemExit(1)
