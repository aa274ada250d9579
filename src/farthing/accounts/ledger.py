"""The ledger: append-only rows of what was charged, compact, and the sums over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from farthing.accounts.budgets import Budget
from farthing.accounts.packing import pack_id, unpack_id, unpack_request
from farthing.base.storage import Query, Row, Work
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.usage import Usage

By = Literal["key", "model", "team", "tag", "day", "deployment", "provider", "total"]

#: Flags of a row, summed.
ESTIMATED, SIMULATED, UNPRICED, ABORTED, CORRECTION, PROVISIONED, FAILED, CACHED = (
    1 << bit for bit in range(8)
)


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One row. place: `deployment`, `provider` and served `model`; None when nothing was called.

    request_id: the provider's, which its invoice names. at: unix milliseconds.
    """

    call_id: str
    at: int
    key_id: str
    model: str
    team: str | None = None
    tags: tuple[str, ...] = ()
    deployment: str | None = None
    provider: str | None = None
    served_model: str | None = None
    tier: str = "standard"
    usage: Usage = Usage()
    nanodollars: int = 0
    flags: int = 0
    request_id: str | None = None


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows to sum. since, until: unix seconds, until exclusive."""

    by: By = "key"
    since: float | None = None
    until: float | None = None


class SpendRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sum. calls counts calls, not tries. simulated_nanodollars: the part that would have been paid."""

    name: str
    calls: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    nanodollars: int
    simulated_nanodollars: int
    estimated_calls: int


def entries_of(record: CallRecord) -> tuple[Entry, ...]:
    """The rows of a call: one for each try that was billed, and one in any case (the last try's)."""
    attempts = record.attempts
    if len(attempts) == 1:
        return (_entry(record, attempts[0]),)
    if not attempts:
        return (_unsent(record),)
    billed = [each for each in attempts if each.nanodollars or each.usage.total_tokens]
    return tuple([_entry(record, each) for each in billed or attempts[-1:]])


def has_call(call_id: str) -> Work[bool]:
    """Whether the call was settled."""
    return (yield from has_packed(pack_id(call_id)))


def has_packed(call: bytes) -> Work[bool]:
    """The same, by its packed id."""
    rows = yield Query("SELECT id FROM ledger WHERE call = ? LIMIT 1", (call,))
    return bool(rows)


_SELECT = """
SELECT l.call, l.at, k.name, t.name, m.name, p.name, g.name, l.input, l.output, l.cached, l.rest,
       l.nanodollars, l.flags, l.request
FROM ledger l JOIN names k ON k.id = l.key_id JOIN names m ON m.id = l.model
LEFT JOIN names t ON t.id = l.team LEFT JOIN names p ON p.id = l.place
LEFT JOIN names g ON g.id = l.tags
"""


#: Rows of an export that are read together.
PAGE = 5_000


def page(after: int, *, since: float | None = None, until: float | None = None) -> Query:
    """The next rows of a span behind the row number `after`, each with its number at the end."""
    columns, _, rest = _SELECT.partition("FROM")
    return Query(
        f"{columns}, l.id FROM{rest} WHERE l.id > ? AND l.at >= ? AND l.at < ? ORDER BY l.id LIMIT ?",
        (after, *_span(since, until), PAGE),
    )


def select_call(call_id: str) -> Query:
    """The rows of one call."""
    return Query(f"{_SELECT} WHERE l.call = ? ORDER BY l.id", (pack_id(call_id),))


def select_row(number: int) -> Query:
    """One row by its number."""
    return Query(f"{_SELECT} WHERE l.id = ?", (number,))


def entry(row: Row) -> Entry:
    """A row of `select`."""
    place = msgspec.json.decode(row[5], type=_Place) if row[5] else _Place()
    rare = msgspec.msgpack.decode(row[10]) if row[10] else {}
    return Entry(
        call_id=unpack_id(bytes(row[0])),
        at=row[1],
        key_id=row[2],
        team=row[3],
        model=row[4],
        deployment=place.deployment,
        provider=place.provider,
        served_model=place.model,
        tier=place.tier,
        tags=tuple(msgspec.json.decode(row[6])) if row[6] else (),
        usage=Usage(
            input_tokens=row[7],
            output_tokens=row[8],
            cached_input_tokens=row[9],
            is_estimated=bool(row[12] & ESTIMATED),
            **rare,
        ),
        nanodollars=row[11],
        flags=row[12],
        request_id=unpack_request(row[13]),
    )


#: What the sums are grouped by, in SQL; tags are summed in Python, since one call may have several.
_GROUPS = {
    "key": "k.name",
    "model": "m.name",
    "team": "coalesce(t.name, '')",
    "deployment": "coalesce(p.name, '')",
    "provider": "coalesce(p.name, '')",
    "tag": "coalesce(g.name, '')",
    "day": "l.at / 86400000",
    "total": "1",
}


def sums(query: SpendQuery) -> Query:
    """The sums by group; `spend_rows` reads them."""
    group = _GROUPS[query.by]
    low, high = _span(query.since, query.until)
    calls = f"CASE WHEN (l.flags & {PROVISIONED}) = 0 THEN l.call END"
    simulated = f"CASE WHEN (l.flags & {SIMULATED}) <> 0 THEN l.nanodollars ELSE 0 END"
    estimated = f"CASE WHEN (l.flags & {ESTIMATED}) <> 0 THEN l.call END"
    return Query(
        f"SELECT {group}, count(DISTINCT {calls}), sum(l.input), sum(l.cached), sum(l.output), "  # noqa: S608
        f"sum(l.nanodollars), sum({simulated}), count(DISTINCT {estimated}) "
        "FROM ledger l JOIN names k ON k.id = l.key_id JOIN names m ON m.id = l.model "
        "LEFT JOIN names t ON t.id = l.team LEFT JOIN names p ON p.id = l.place "
        "LEFT JOIN names g ON g.id = l.tags "
        "WHERE l.at >= ? AND l.at < ? GROUP BY 1",
        (low, high),
    )


def spend_rows(by: By, rows: Sequence[Row]) -> list[SpendRow]:
    """The sums, dearest first (days in order)."""
    merged: dict[str, list[int]] = {}
    for row in rows:
        for name in _names(by, row[0]):
            total = merged.setdefault(name, [0] * 7)
            for index, value in enumerate(row[1:]):
                total[index] += int(value or 0)
    made = [
        SpendRow(
            name=name,
            calls=t[0],
            input_tokens=t[1],
            cached_input_tokens=t[2],
            output_tokens=t[3],
            nanodollars=t[4],
            simulated_nanodollars=t[5],
            estimated_calls=t[6],
        )
        for name, t in merged.items()
    ]
    if by == "day":
        return sorted(made, key=lambda row: row.name)
    return sorted(made, key=lambda row: (-row.nanodollars, row.name))


_IDS = "SELECT id FROM names"


def spent(budget: Budget, since: int, until: int | None, key_names: Mapping[str, str]) -> Work[int]:
    """Nanodollars of the ledger that count for a budget in a span, unix seconds.

    Provisioned fees count for none: no call causes them, so no refused call could save them.
    """
    low, high = _span(since, until)
    conditions = ""
    params: list[Any] = [low, high]
    names: list[tuple[str, str, list[str]]] = []
    if budget.key is not None:
        ids = [key_id for key_id, name in key_names.items() if name == budget.key]
        names.append(("l.key_id", "key", [*ids, budget.key]))
    if budget.team is not None:
        names.append(("l.team", "team", [budget.team]))
    if budget.model is not None:
        names.append(("l.model", "model", [budget.model]))
    for column, kind, values in names:
        marks = ", ".join("?" * len(values))
        conditions += f" AND {column} IN ({_IDS} WHERE kind = '{kind}' AND name IN ({marks}))"
        params += values
    rows = yield Query(
        "SELECT g.name, sum(l.nanodollars) FROM ledger l LEFT JOIN names g ON g.id = l.tags "  # noqa: S608
        f"WHERE l.at >= ? AND l.at < ? AND (l.flags & {PROVISIONED}) = 0{conditions} GROUP BY g.name",
        tuple(params),
    )
    return sum(
        int(amount)
        for tags, amount in rows
        if budget.tag is None or (tags and budget.tag in msgspec.json.decode(tags))
    )


def _span(since: float | None, until: float | None) -> tuple[int, int]:
    """Unix seconds → milliseconds, the end exclusive."""
    low = 0 if since is None else int(since * 1000)
    return low, (1 << 62 if until is None else int(until * 1000))


def _entry(record: CallRecord, attempt: AttemptRecord) -> Entry:
    outcome, usage = attempt.outcome, attempt.usage
    flags = 0 if outcome == "ok" else _flag_of(outcome)
    if usage.is_estimated:
        flags |= ESTIMATED
    if attempt.is_simulated:
        flags |= SIMULATED
    if not attempt.is_price_known:
        flags |= UNPRICED
    return Entry(
        call_id=record.call_id,
        at=int(record.at_s * 1000),
        key_id=record.key_id,
        model=record.model,
        team=record.team,
        tags=record.tags,
        deployment=attempt.deployment,
        provider=attempt.provider,
        served_model=attempt.model,
        tier=attempt.tier,
        usage=usage,
        nanodollars=attempt.nanodollars,
        flags=flags,
        request_id=attempt.upstream_request_id,
    )


def _unsent(record: CallRecord) -> Entry:
    """The row of a call that no provider was asked for."""
    return Entry(
        call_id=record.call_id,
        at=int(record.at_s * 1000),
        key_id=record.key_id,
        model=record.model,
        team=record.team,
        tags=record.tags,
        flags=(CACHED if record.cache == "hit" else 0) | _flag_of(record.outcome),
    )


def _flag_of(outcome: str) -> int:
    return 0 if outcome == "ok" else ABORTED if outcome == "aborted" else FAILED


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a try was bought, as it is interned."""

    deployment: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str = "standard"


def _names(by: By, value: object) -> tuple[str, ...]:
    if by == "tag":
        return tuple(msgspec.json.decode(str(value))) if value else ("(none)",)
    if by in ("deployment", "provider"):
        place = msgspec.json.decode(str(value)) if value else ["(cache)", "(cache)"]
        return (place[0 if by == "deployment" else 1],)
    if by == "day":
        from datetime import UTC, datetime

        return (datetime.fromtimestamp(int(str(value)) * 86400, UTC).date().isoformat(),)
    return ("total",) if by == "total" else (str(value) or "(none)",)
