"""What the runs of a matrix share: values of nodes, written with the lines that made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from farthing.base.storage import Database, Query, Row
from farthing.flows.batch.records import Done, Line, Shares
from farthing.flows.models import Spent

_COLUMNS = tuple(Done.__struct_fields__)
_INSERT = (
    f"INSERT INTO flow_values ({', '.join(_COLUMNS)}) "  # noqa: S608 -- constants only
    f"VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING"
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM flow_values"  # noqa: S608 -- constants only


def with_shares(line: Line, shares: Shares, *, run: int) -> Line:
    """The record of a line with what it shares. run: its own; what that has made itself, it has paid for."""
    foreign = Spent()
    for each in shares.taken:
        if each.run != run:
            foreign.add(spent_of(each))
    return msgspec.structs.replace(
        line,
        latency_us=line.latency_us + int(shares.saved_s * 1_000_000),
        shared=msgspec.json.encode(foreign).decode() if foreign != Spent() else None,
        made=shares.made,
    )


def spent_of(done: Done) -> Spent:
    """What the models of a node's work have cost."""
    return Spent(
        calls=done.calls,
        input_tokens=done.input_tokens,
        output_tokens=done.output_tokens,
        nanodollars=done.nanodollars,
    )


# --- in the store of runs ---


def keeping(run: int, lines: Sequence[Line]) -> Iterator[Query]:
    """Keeps what the lines have made; in the transaction that keeps the lines."""
    made = [
        msgspec.structs.astuple(msgspec.structs.replace(each, run=run))
        for line in lines
        for each in line.made
    ]
    if made:
        yield Query(_INSERT, many=made)


def forgetting(run: int) -> Query:
    """Forgets what a run has made."""
    return Query("DELETE FROM flow_values WHERE run = ?", (run,))


async def done_for(database: Database, matrix: str, line: int) -> dict[str, Done]:
    """What has been made for a line of a matrix, by key."""
    rows: list[Row] = await database.read(
        f"{_SELECT} WHERE matrix = ? AND line = ?", (matrix, line)
    )
    made = (Done(**dict(zip(_COLUMNS, row, strict=True))) for row in rows)
    return {each.key: each for each in made}
