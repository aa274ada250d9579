"""Provisioned fees: the hourly price of reserved throughput, booked hour by hour to its deployment."""

from __future__ import annotations

from collections.abc import Iterable

from farthing.accounts import booking, ledger
from farthing.accounts.ledger import Entry
from farthing.base.storage import Query, Work
from farthing.core.models import Deployment
from farthing.core.prices import amortised

#: Stands where a call's key stands: nobody's call caused the fee, so no key and no budget bears it.
KEY_ID = "(provisioned)"
HOUR_S = 3600
_CURSOR = "provisioned:"


def post(deployments: Iterable[Deployment], now: int) -> Work[int]:
    """Book every hour that is over since the last time, one row each. Returns the number of rows.

    A deployment counts from the moment it is first seen; while this program is down its fee runs on, as
    the vendor's does. A part of an hour costs the difference of two rounded shares of the hour, so the
    rows of one hour always add up to its fee. One that is no longer there is forgotten.
    """
    rows = yield Query("SELECT name, value FROM counters")
    since = {name.removeprefix(_CURSOR): value for name, value in rows if name.startswith(_CURSOR)}
    paid = {d.name: d for d in deployments if d.provisioned_hourly_nanodollars}
    until = now - now % HOUR_S
    posted = 0
    for name in sorted(since.keys() - paid.keys()):
        yield Query("DELETE FROM counters WHERE name = ?", (_CURSOR + name,))
    for name, deployment in sorted(paid.items()):
        if name not in since:
            yield Query(
                "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                (_CURSOR + name, now),
            )
        elif since[name] < until:
            taken = yield Query(
                "UPDATE counters SET value = ? WHERE name = ? AND value = ? RETURNING value",
                (until, _CURSOR + name, since[name]),
            )
            if taken:  # otherwise another process has booked these hours
                entries = _entries(deployment, since[name], until)
                yield from booking.append(entries)
                posted += len(entries)
    return posted


def _entries(deployment: Deployment, since: int, until: int) -> list[Entry]:
    fee = deployment.provisioned_hourly_nanodollars
    entries = []
    for hour in range(since - since % HOUR_S, until, HOUR_S):
        before = max(0, since - hour)
        entries.append(
            Entry(
                call_id=f"{KEY_ID}{deployment.name}@{hour}",
                at=max(hour, since) * 1000,
                key_id=KEY_ID,
                model=deployment.model,
                deployment=deployment.name,
                provider=deployment.provider,
                served_model=deployment.model,
                nanodollars=amortised(fee, HOUR_S) - amortised(fee, before),
                flags=ledger.PROVISIONED | (ledger.SIMULATED if deployment.is_simulated else 0),
            )
        )
    return entries
