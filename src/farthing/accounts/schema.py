"""The tables of keys, budgets and money, and their numbered migrations."""

from __future__ import annotations

from farthing.base.storage import Migration

MIGRATIONS = (
    Migration(
        room="accounts",
        number=1,
        name="keys, budgets, reservations, ledger",
        statements=(
            # Short numbers for the names that ledger rows repeat.
            """CREATE TABLE names (
                id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
                UNIQUE (kind, name))""",
            """CREATE TABLE keys (
                id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,
                role TEXT NOT NULL, team TEXT, scope TEXT NOT NULL, created_at INTEGER NOT NULL,
                expires_at INTEGER, revoked_at INTEGER, old_digest BLOB, old_expires_at INTEGER)""",
            """CREATE TABLE budgets (
                name TEXT PRIMARY KEY, nanodollars INTEGER NOT NULL, rule TEXT NOT NULL)""",
            """CREATE TABLE budget_windows (
                budget TEXT NOT NULL, start_at INTEGER NOT NULL, scope TEXT NOT NULL,
                spent INTEGER NOT NULL,
                reserved INTEGER NOT NULL, alerted INTEGER NOT NULL, PRIMARY KEY (budget, start_at))""",
            """CREATE TABLE reservations (
                call BLOB PRIMARY KEY, instance TEXT NOT NULL, state TEXT NOT NULL,
                nanodollars INTEGER NOT NULL, at INTEGER NOT NULL, expires_at INTEGER,
                key_id TEXT NOT NULL, model TEXT NOT NULL, team TEXT, tags TEXT NOT NULL,
                windows BLOB NOT NULL)""",
            """CREATE TABLE ledger (
                id INTEGER PRIMARY KEY AUTOINCREMENT, call BLOB NOT NULL, at INTEGER NOT NULL,
                key_id INTEGER NOT NULL, team INTEGER, model INTEGER NOT NULL, place INTEGER,
                tags INTEGER, input INTEGER NOT NULL, output INTEGER NOT NULL,
                cached INTEGER NOT NULL, rest BLOB, nanodollars INTEGER NOT NULL,
                flags INTEGER NOT NULL, request BLOB)""",
            "CREATE INDEX ledger_call ON ledger (call)",
            # Reports and new budget windows read a span of time.
            "CREATE INDEX ledger_at ON ledger (at)",
            "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
            "INSERT INTO counters (name, value) VALUES ('keys', 0)",
            "INSERT INTO counters (name, value) VALUES ('budgets', 0)",
        ),
    ),
    Migration(
        room="accounts",
        number=2,
        name="journals",
        statements=(
            # How far each journal beside a SQLite database is in these tables, bytes.
            "CREATE TABLE journals (name TEXT PRIMARY KEY, position INTEGER NOT NULL)",
            # What the board shows: the windows of now, and those that hold something.
            "CREATE INDEX budget_windows_start ON budget_windows (start_at)",
            "CREATE INDEX budget_windows_held ON budget_windows (start_at) WHERE reserved <> 0",
        ),
    ),
)
