"""From `storage.url` to a database."""

from __future__ import annotations

from pathlib import Path

from farthing.base.config.settings import Storage
from farthing.base.storage.work import Database
from farthing.core.errors import ConfigError


def connect(settings: Storage, *, durability: str = "process", exclusive: bool = False) -> Database:
    """The database of these settings, not opened yet.

    exclusive: own a SQLite file, as a serving process does; administration leaves it shared. Raises
    ConfigError for an address of another kind, or when the extra for it is missing.
    """
    url = settings.url
    if url.startswith("sqlite:"):
        from farthing.base.storage.sqlite import SqliteDatabase

        path = Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser().absolute()
        return SqliteDatabase(
            path,
            durability=durability,
            busy_timeout_s=settings.busy_timeout_s,
            exclusive=exclusive,
        )
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from farthing.base.storage.postgres import PostgresDatabase
        except ImportError as error:
            raise ConfigError(
                "storage.url names Postgres, whose driver is not installed.",
                hint="pip install 'farthing[postgres]'",
            ) from error
        return PostgresDatabase(url, durability=durability)
    raise ConfigError(
        f"storage.url begins with '{url.partition(':')[0]}', which is no database known here.",
        hint="Write sqlite:PATH or postgresql://USER@HOST/NAME.",
    )
