"""What a unit of work is, and what a database offers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")
Row = tuple[Any, ...]


class Query(msgspec.Struct, frozen=True):
    """One statement with `?` placeholders and its parameters (str, int, float, bytes, None).

    many: run it once for each of these instead; it then has no rows.
    """

    sql: str
    params: tuple[Any, ...] = ()
    many: Sequence[tuple[Any, ...]] | None = None


#: Yields queries, is sent their rows, returns its result. No I/O of its own: both drivers run it.
Work = Generator[Query, list[Row], T]


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """A numbered forward step of one room's tables. statements: run in order, in one transaction."""

    room: str
    number: int
    name: str
    statements: tuple[str, ...]


class Guard(Protocol):
    """What a unit of work needs around its transaction. All three run on the thread that writes."""

    def enter(self) -> None:
        """Before the transaction. Raises StorageError, and then nothing is written."""
        ...

    def committed(self) -> None:
        """Behind the commit. What it raises becomes the unit's error, though the unit stays written."""
        ...

    def leave(self) -> None:
        """At the end, whatever happened, if `enter` returned."""
        ...


class Database(Protocol):
    """An open database. Raises StorageError and its kin, never a driver's own exceptions.

    path: the file, where the database is one of this machine's.
    """

    kind: str
    path: Path | None

    async def open(self) -> None:
        """Connect; make the file and its folder where they are missing."""
        ...

    async def migrate(self, migrations: Sequence[Migration]) -> None:
        """Bring a room's tables up to date. Raises StorageVersionError for a newer database."""
        ...

    async def write(self, work: Callable[[], Work[T]], *, guard: Guard | None = None) -> T:
        """Run a unit of work; returns once it is durable. Work that raises leaves no trace.

        Units that wait together share one commit, but for those with a guard: each has its own.
        `work` must be safe to run again from its start.
        """
        ...

    async def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Row]:
        """Rows of a query, on a connection of its own, so that reports never delay calls."""
        ...

    async def claim(self, name: str) -> None:
        """Hold a name as long as this process lives (or until `close`), so that others can tell."""
        ...

    async def is_claimed(self, name: str) -> bool:
        """Whether a living process holds that name. A dead process holds nothing, however it died."""
        ...

    async def close(self) -> None:
        """Finish what waits, then disconnect. Idempotent."""
        ...
