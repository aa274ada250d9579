"""Where the gateway that owns a database can be reached, for commands that would need it too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farthing.base.config.settings import Settings


@contextmanager
def announced(settings: Settings, url: str) -> Iterator[None]:
    """Write the address beside the SQLite database while the block runs.

    A process that is killed leaves the file behind; it is read only while the database's lock is held, and
    every start writes it anew.
    """
    file = _file(settings)
    if file is None:
        yield
        return
    file.write_text(url, encoding="ascii")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def running_gateway(settings: Settings) -> str | None:
    """The address of the gateway that holds the database's lock; None when it did not announce one."""
    file = _file(settings)
    try:
        return file.read_text(encoding="ascii").strip() or None if file is not None else None
    except (OSError, UnicodeDecodeError):
        return None


def _file(settings: Settings) -> Path | None:
    kind, _, rest = settings.storage.url.partition(":")
    database = Path(rest)
    return database.with_name(database.name + ".url") if kind == "sqlite" else None
