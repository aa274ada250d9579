"""Numbered forward migrations, each room's counted apart."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.base.storage.work import Migration, Query, Work
from farthing.core.errors import StorageVersionError

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    room TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (room, number)
)
"""


def apply(migrations: Sequence[Migration], place: str) -> Work[None]:
    """Run the steps that the database does not have yet, all in one transaction.

    Raises StorageVersionError when it has a step that this program does not know.
    """
    yield Query(_TABLE)
    room = migrations[0].room
    rows = yield Query("SELECT max(number) FROM migrations WHERE room = ?", (room,))
    done = rows[0][0] or 0
    known = max(step.number for step in migrations)
    if done > known:
        raise StorageVersionError(
            f"The database {place} was written by a newer Farthing: its {room} tables have version "
            f"{done}, this program knows {known}.",
            hint="Upgrade Farthing, or use another database (storage.url).",
        )
    for step in migrations:
        if step.number > done:
            for statement in step.statements:
                yield Query(statement)
            yield Query(
                "INSERT INTO migrations (room, number, name) VALUES (?, ?, ?)",
                (step.room, step.number, step.name),
            )
