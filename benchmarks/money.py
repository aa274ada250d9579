"""Whether the money is exact: invoices by hand, laws over any interleaving, and kill -9 under load.

    python benchmarks/money.py --kills 300

Golden invoices: difference to sums worked out by hand from the vendors' pages. Laws: generated calls with
faults, hang-ups and a crash; ledger and holds must cover the simulator's invoice and equal it once its rows
were read. Kills: the gateway as a process on SQLite and on Postgres, 56 clients of four dialects.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, given, settings

from benchmarks._golden import books, difference, differs_from_catalogue
from benchmarks._harness import Report
from benchmarks._kills import Outcome
from benchmarks._kills import run as kill
from benchmarks._laws import Wish, crowd, wishes
from benchmarks._laws import run as obey
from farthing.providers.catalogue import Catalogue

#: The server whose databases the proof makes and drops; the same variable as in the tests.
_POSTGRES = os.environ.get(
    "FARTHING_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"
)
#: Calls at once, and how many of them a budget has room for.
_CROWDS = ((100, 7), (100, 1), (60, 59), (200, 50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=300, help="on each database; 0 leaves them out"
    )
    parser.add_argument("--examples", type=int, default=200, help="generated sets of calls")
    parser.add_argument("--clients", type=int, default=56)
    parser.add_argument("--no-postgres", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("farthing").setLevel(logging.ERROR)  # each generated crash would be told
    report = Report("money")
    _golden(report)
    _laws(report, arguments.examples)
    if arguments.kills:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "kills.db"
            _kills(
                report,
                "sqlite",
                kill(
                    f"sqlite:{path}", Path(name), kills=arguments.kills, clients=arguments.clients
                ),
            )
            report.add("sqlite_is_sound", _is_sound(path), target=1)
        with tempfile.TemporaryDirectory() as name:
            url = f"sqlite:{Path(name) / 'kills.db'}"
            kills, clients = arguments.kills, arguments.clients
            outcome = kill(url, Path(name), kills=kills, clients=clients, workers=2)
            _kills(report, "two_workers", outcome)
        if arguments.no_postgres:
            report.note("Postgres was left out (--no-postgres).")
        else:
            with _postgres(report) as url, tempfile.TemporaryDirectory() as name:
                if url is not None:
                    outcome = kill(
                        url, Path(name), kills=arguments.kills, clients=arguments.clients
                    )
                    _kills(report, "postgres", outcome)
    report.print(sqlite=sqlite3.sqlite_version)


def _golden(report: Report) -> None:
    found = books()
    catalogue = Catalogue.load()
    rows = [row for book in found.values() for row in book.prices.values()]
    hours = [abs(each.difference) for book in found.values() for each in book.hours]
    off = [difference(each, book) for book in found.values() for each in book.invoice]
    report.add("golden_invoices", len(off) + len(hours), target=60)
    report.add("golden_difference_nanodollars", sum(off) + sum(hours), target=0)
    wrong = sum(differs_from_catalogue(row, catalogue) for row in rows)
    report.add("golden_regional_prices_unlike_catalogue", wrong, target=0)


def _laws(report: Report, examples: int) -> None:
    counts = {"examples": 0, "calls": 0, "broken": 0}

    @given(calls=wishes())
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def hold(calls: list[Wish]) -> None:
        found = asyncio.run(obey(calls))
        counts["examples"] += 1
        counts["calls"] += len(calls)
        counts["broken"] += bool(found.broken)
        for law in found.broken:
            report.note(f"{law}: {calls}")

    hold()
    report.add("law_examples", counts["examples"])
    report.add("law_calls", counts["calls"])
    report.add("laws_broken", counts["broken"], target=0)
    over = sum(abs(asyncio.run(crowd(size, fits)) - fits) for size, fits in _CROWDS)
    report.add("crowds_on_a_budget", len(_CROWDS))
    report.add("overspent_budgets", over, target=0)


def _kills(report: Report, kind: str, outcome: Outcome) -> None:
    report.add(f"kills_{kind}", outcome.kills)
    report.add(f"calls_complete_{kind}", outcome.calls_complete)
    report.add(f"calls_billed_{kind}", outcome.calls_billed)
    report.add(f"holds_before_reconciliation_{kind}", outcome.holds)
    report.add(f"missing_{kind}", outcome.missing, target=0)
    report.add(f"doubled_{kind}", outcome.doubled, target=0)
    report.add(f"uncovered_{kind}", outcome.uncovered, target=0)
    report.add(f"wrong_charges_{kind}", outcome.wrong, target=0)
    report.add(f"budget_difference_nanodollars_{kind}", outcome.budget_difference, target=0)
    report.add(f"difference_after_reconciliation_nanodollars_{kind}", outcome.difference, target=0)
    report.add(f"restart_s_median_{kind}", outcome.restart_median_s, target=1)
    report.add(f"restart_s_p99_{kind}", outcome.restart_p99_s)
    report.add(f"restart_s_max_{kind}", max(outcome.restarts_s))


def _is_sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


@contextmanager
def _postgres(report: Report) -> Iterator[str | None]:
    """The URL of a database of our own, dropped afterwards; None when there is no server."""
    name = f"farthing_bench_{uuid.uuid4().hex}"
    try:
        asyncio.run(_execute(f"CREATE DATABASE {name}"))
    except (OSError, ImportError) as error:
        report.note(f"No Postgres was judged: {type(error).__name__} at FARTHING_TEST_POSTGRES.")
        yield None
        return
    try:
        yield urlsplit(_POSTGRES)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(_POSTGRES)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
