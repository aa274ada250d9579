"""Storage: one small interface over SQLite and Postgres, with numbered migrations.

A unit of work is a plain generator that yields `Query`s and receives their rows; each driver runs it inside
a transaction of its own kind. Room authors write raw SQL with `?` placeholders that both databases accept.
Door: `connect(settings, durability=…, exclusive=…)`.
"""

from farthing.base.storage.connect import connect
from farthing.base.storage.work import Database, Guard, Migration, Query, Row, Work

__all__ = ["Database", "Guard", "Migration", "Query", "Row", "Work", "connect"]
