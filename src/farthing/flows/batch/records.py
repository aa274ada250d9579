"""What is kept of a run: its tables, its records, and values as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from farthing.base.storage import Migration
from farthing.core.private import PrivateStruct

MIGRATIONS = (
    Migration(
        room="flows",
        number=1,
        name="runs and their lines",
        statements=(
            # definition, metrics: JSON. instance: the process that runs it now. Times are unix milliseconds.
            """CREATE TABLE flow_runs (
                id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
                definition TEXT NOT NULL, instance TEXT, created_at_ms INTEGER NOT NULL,
                started_at_ms INTEGER, ended_at_ms INTEGER, archived_at_ms INTEGER,
                completed INTEGER NOT NULL,
                failed INTEGER NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
                output_tokens INTEGER NOT NULL, nanodollars INTEGER NOT NULL, metrics TEXT NOT NULL,
                error_code TEXT, error_message TEXT)""",
            "CREATE INDEX flow_runs_created ON flow_runs (created_at_ms)",
            # inputs, outputs: JSON. columns: of the data, where they are not the inputs. node_values: what
            # the nodes behind all lines need of it.
            """CREATE TABLE flow_lines (
                run INTEGER NOT NULL, line INTEGER NOT NULL, status TEXT NOT NULL, inputs TEXT NOT NULL,
                columns TEXT, outputs TEXT, node_values TEXT, error_code TEXT, error_node TEXT,
                error_message TEXT, started_at_ms INTEGER NOT NULL, latency_us INTEGER NOT NULL,
                PRIMARY KEY (run, line))""",
        ),
    ),
    Migration(
        room="flows",
        number=2,
        name="what the runs of a matrix share",
        statements=(
            # JSON: what the line took from other runs, as they had paid for it.
            "ALTER TABLE flow_lines ADD COLUMN shared TEXT",
            # A node's value for a line, as JSON, with what it cost the run that has made it.
            """CREATE TABLE flow_values (
                matrix TEXT NOT NULL, line INTEGER NOT NULL, key TEXT NOT NULL, run INTEGER NOT NULL,
                value TEXT NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
                output_tokens INTEGER NOT NULL, nanodollars INTEGER NOT NULL, latency_us INTEGER NOT NULL,
                PRIMARY KEY (matrix, line, key))""",
            "CREATE INDEX flow_values_run ON flow_values (run)",
        ),
    ),
)

#: interrupted: it was running, and its process is no more; it is told when it is read, never stored.
Status = Literal["running", "completed", "cancelled", "failed", "interrupted"]
LineStatus = Literal["completed", "failed"]


class Definition(PrivateStruct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run was asked for; kept with it, so that it can be resumed and read about. No secrets.

    flow: the folder or file. data: a path; data_digest: what it held. run: an earlier run that rows come
    from. connections: overrides by node. run_file: where it was read from; environment and init are named
    only, their values may be secret. files: the flow's own, each with its digest, when the run began. limit:
    take so many lines only. matrix: the comparison that it is part of. isolate: see
    `isolation.settings.isolation_of`.
    """

    flow: str
    data: str | None = None
    data_digest: str | None = None
    run: str | None = None
    column_mapping: dict[str, Any] = {}
    variant: str | None = None
    connections: dict[str, dict[str, str]] = {}
    display_name: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    run_file: str | None = None
    environment: tuple[str, ...] = ()
    init: tuple[str, ...] = ()
    resume_from: str | None = None
    files: dict[str, str] = {}
    limit: int | None = None
    matrix: str | None = None
    isolate: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands. Times are unix milliseconds. error_code: why it did not get to its end.

    completed, failed: lines. calls, tokens and nanodollars: of models, over all its sessions.
    """

    id: int
    name: str
    status: Status
    definition: Definition
    created_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    archived_at_ms: int | None
    completed: int
    failed: int
    calls: int
    input_tokens: int
    output_tokens: int
    nanodollars: int
    metrics: dict[str, float]
    error_code: str | None
    error_message: str | None


class Done(PrivateStruct, frozen=True, kw_only=True):
    """What a node has made for a line, for other runs that would do the same. key: what work it was.

    value: JSON text, the user's own data. run: who has done it, 0 while it is not kept. The rest is what it
    cost and took.
    """

    matrix: str
    line: int
    key: str
    value: str
    run: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nanodollars: int = 0
    latency_us: int = 0


class Shares(PrivateStruct, frozen=True, kw_only=True):
    """What a line took from other runs, and what it leaves them. saved_s: the time that it was spared."""

    taken: tuple[Done, ...] = ()
    made: tuple[Done, ...] = ()
    saved_s: float = 0.0


class Line(PrivateStruct, frozen=True, kw_only=True):
    """A line that is over. inputs, columns, outputs, node_values: JSON texts, the user's own data.

    columns: those of its row of data that the inputs do not show. node_values: None where nothing behind
    all lines needs them, or where they are no JSON. shared: JSON of a Spent, what it took from other runs as
    they had paid for it; latency_us has the time of that in it. made: kept beside the line, not read with it.
    """

    number: int
    status: LineStatus
    inputs: str
    columns: str | None = None
    outputs: str | None = None
    node_values: str | None = None
    error_code: str | None = None
    error_node: str | None = None
    error_message: str | None = None
    started_at_ms: int = 0
    latency_us: int = 0
    shared: str | None = None
    made: tuple[Done, ...] = ()


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a session of a run ended."""

    status: Literal["completed", "cancelled", "failed"]
    metrics: dict[str, float] = {}
    error_code: str | None = None
    error_message: str | None = None


def as_json(value: Any) -> str:
    """A value as JSON text. Images are `{"data:image/png;base64": …}`, sets are lists.

    Raises TypeError or ValueError where JSON has nothing for it; RecursionError where it holds itself.
    """
    return _ENCODER.encode(value).decode()


def _as_plain(value: Any) -> Any:
    """What JSON has for a value of a class of the user's, or of ours."""
    to_base64 = getattr(value, "to_base64", None)
    if isinstance(value, bytes) and callable(to_base64):
        kind, _, data = str(to_base64(with_type=True)).partition(",")
        url = getattr(value, "source_url", None)
        if url and not value:  # an image that was never fetched
            return {kind.replace(";base64", ";url"): str(url)}
        return {kind: data}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


_ENCODER = msgspec.json.Encoder(enc_hook=_as_plain)
