"""Booking: how entries become rows of the ledger, with short numbers for the names that they repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from farthing.accounts.ledger import Entry
from farthing.accounts.packing import pack_id, pack_request
from farthing.base.storage import Query, Work
from farthing.core.usage import Usage

_RARE = tuple(
    name
    for name in Usage.__struct_fields__
    if name not in ("input_tokens", "output_tokens", "cached_input_tokens", "is_estimated")
)
_rare_of = attrgetter(*_RARE)
_NOTHING_RARE = (0,) * len(_RARE)
#: What a row says for no bytes and for no name: `None` costs SQLite's driver several times as much.
_NO_BYTES = bytearray()
_NO_NAME = 0


class Interned:
    """Names and their short numbers, as far as they are known here. None stands for no name, `_NO_NAME` for its
    number."""

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.teams: dict[str | None, int] = {None: _NO_NAME}
        self.places: dict[tuple[str | None, ...], int] = {}
        self.tags: dict[tuple[str, ...], int] = {(): _NO_NAME}
        #: The newest of them: a database that knows it by another name is another database.
        self.newest: tuple[int, str] = (0, "")

    def copy(self) -> Interned:
        """The same, to be changed apart."""
        made = Interned()
        made.keys, made.models, made.teams = dict(self.keys), dict(self.models), dict(self.teams)
        made.places, made.tags = dict(self.places), dict(self.tags)
        made.newest = self.newest
        return made


#: Names that are kept in memory; tags are the callers' own words, so there may be any number.
_MOST_NAMES = 20_000


def still_good(names: Interned) -> Work[Interned]:
    """A copy of the names, or none of them when this is another database or they are too many."""
    number, name = names.newest
    if not number or len(names.tags) + len(names.places) > _MOST_NAMES:
        return Interned()
    rows = yield Query("SELECT name FROM names WHERE id = ?", (number,))
    return names.copy() if rows and rows[0][0] == name else Interned()


def append(entries: Iterable[Entry]) -> Work[None]:
    """Write rows."""
    names = Interned()
    rows = []
    for entry in entries:
        yield from learn(entry, names)
        rows.append(row_of(entry, pack_id(entry.call_id), names))
    yield from append_rows([row for row in rows if row is not None])


def append_rows(
    rows: Sequence[tuple[Any, ...]], pause: Callable[[], None] | None = None
) -> Work[None]:
    """Write rows made by `row_of`, many to a statement: a quarter cheaper than one to each."""
    whole = len(rows) - len(rows) % _ROWS
    for first in range(0, whole, _ROWS):
        some = rows[first : first + _ROWS]
        yield Query(_INSERT_MANY, tuple(chain.from_iterable(some)))
        if pause is not None:
            pause()
    for row in rows[whole:]:
        yield Query(_INSERT, row)


def learn(entry: Entry, names: Interned) -> Work[None]:
    """Look up the names of a row, and make those that are new."""
    place = (entry.deployment, entry.provider, entry.served_model, entry.tier)
    wanted: tuple[tuple[dict[Any, Any], str, Any, str | None], ...] = (
        (names.keys, "key", entry.key_id, entry.key_id),
        (names.models, "model", entry.model, entry.model),
        (names.teams, "team", entry.team, entry.team),
        (names.places, "place", place, _place(entry)),
        (names.tags, "tags", entry.tags, msgspec.json.encode(entry.tags).decode()),
    )
    for known, kind, key, text in wanted:
        if key not in known and text is None:
            known[key] = _NO_NAME
        elif key not in known:
            assert text is not None
            known[key] = yield from name_id(kind, text)
            names.newest = max(names.newest, (known[key], text))


def row_of(entry: Entry, call: bytes, names: Interned) -> tuple[Any, ...] | None:
    """A row as `append_rows` takes it; None while a name of it is not known: `learn` it first."""
    usage, request_id = entry.usage, entry.request_id
    rare = _rare_of(usage)
    try:
        return (
            bytearray(call),
            entry.at,
            names.keys[entry.key_id],
            names.teams[entry.team],
            names.models[entry.model],
            names.places[entry.deployment, entry.provider, entry.served_model, entry.tier],
            names.tags[entry.tags],
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_input_tokens,
            _NO_BYTES if rare == _NOTHING_RARE else _rest(rare),
            entry.nanodollars,
            entry.flags,
            _NO_BYTES if request_id is None else bytearray(pack_request(request_id)),
        )
    except KeyError:
        return None


#: Rows to a statement; SQLite takes at least 999 parameters.
_ROWS = 50
_NAME = f"nullif(?, {_NO_NAME})"
_BYTES = "nullif(?, CAST('' AS BLOB))"
_VALUES = f"(?, ?, ?, {_NAME}, ?, {_NAME}, {_NAME}, ?, ?, ?, {_BYTES}, ?, ?, {_BYTES})"
_INSERT = (
    "INSERT INTO ledger (call, at, key_id, team, model, place, tags, input, output, cached, rest, "  # noqa: S608
    f"nanodollars, flags, request) VALUES {_VALUES}"
)
_INSERT_MANY = _INSERT + f", {_VALUES}" * (_ROWS - 1)


def _rest(rare: tuple[int, ...]) -> bytearray:
    """The counts that most calls do not have, as MessagePack."""
    named = {name: value for name, value in zip(_RARE, rare, strict=True) if value}
    return bytearray(msgspec.msgpack.encode(named))


def name_id(kind: str, name: str) -> Work[int]:
    """The short number of a name, made when it is new."""
    rows = yield Query("SELECT id FROM names WHERE kind = ? AND name = ?", (kind, name))
    if not rows:
        rows = yield Query(
            "INSERT INTO names (kind, name) VALUES (?, ?) "
            "ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name RETURNING id",
            (kind, name),
        )
    number: int = rows[0][0]
    return number


def _place(each: Entry) -> str | None:
    if each.deployment is None:
        return None
    return msgspec.json.encode(
        [each.deployment, each.provider, each.served_model, each.tier]
    ).decode()
