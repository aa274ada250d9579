"""Holds: money reserved for calls under way, and the units of work that move it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from farthing.accounts import booking, ledger
from farthing.accounts.budgets import (
    Alert,
    Budget,
    Window,
    alerts,
    hold,
    hold_more,
    move,
    window_end,
    window_start,
)
from farthing.accounts.ledger import Entry
from farthing.accounts.packing import pack_id, unpack_id
from farthing.base.storage import Query, Row, Work
from farthing.core.calls import Caller
from farthing.core.errors import ConflictError, NotFoundError

if TYPE_CHECKING:  # both are made from holds
    from farthing.accounts.rates import Charge
    from farthing.accounts.view import Line

State = Literal["open", "orphaned", "unconfirmed"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to hold money. nanodollars: the most that the call can cost.

    tokens: the most that it can take of the rates that count tokens.
    """

    call_id: str
    caller: Caller
    model: str
    nanodollars: int
    at_s: float
    tags: tuple[str, ...] = ()
    tokens: int = 0


class Reservation(msgspec.Struct, kw_only=True):
    """Money held for a call. is_recorded False: the database could not be written and the operator chose
    to serve all the same.

    nanodollars: what is held now, extensions included. call: its id, packed. ended: how it was given
    back, if it was. instance and generation: the process that made it, and the budgets as they were then.
    lines: where its budgets stand on the board. charges: what it took of the rates.
    """

    hold: Hold
    is_recorded: bool = True
    nanodollars: int = 0
    ended: Literal["settled", "released"] | None = None
    call: bytes = b""
    instance: str = ""
    generation: int = -1
    lines: tuple[Line, ...] = ()
    charges: tuple[Charge, ...] = ()


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is held. open: the call runs. orphaned: its process died. unconfirmed: the provider gave
    no usage. expires_at: unix seconds when it frees itself."""

    call_id: str
    state: State
    nanodollars: int
    at_s: float
    key_id: str
    model: str
    expires_at: int | None = None


SELECT_UNSETTLED = "SELECT call, state, nanodollars, at, key_id, model, expires_at FROM reservations ORDER BY at, call"

SELECT_DUE = (
    "SELECT call FROM reservations WHERE expires_at IS NOT NULL AND expires_at <= ? LIMIT 1"
)


def unsettled(row: Row) -> Unsettled:
    """A row of `SELECT_UNSETTLED`."""
    return Unsettled(
        call_id=unpack_id(bytes(row[0])),
        state=row[1],
        nanodollars=row[2],
        at_s=row[3] / 1000,
        key_id=row[4],
        model=row[5],
        expires_at=row[6],
    )


def reserve(wish: Hold, budgets: Iterable[Budget], instance: str) -> Work[None]:
    """Hold the money in every matching budget. Raises BudgetExceededError."""
    matching = [b for b in budgets if b.matches(wish.caller, wish.model, wish.tags)]
    windows = yield from hold(matching, wish.nanodollars, wish.at_s, so_far)
    yield Query(
        "INSERT INTO reservations (call, instance, state, nanodollars, at, key_id, model, team, tags, "
        "windows) VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, ?)",
        (
            pack_id(wish.call_id),
            instance,
            wish.nanodollars,
            int(wish.at_s * 1000),
            wish.caller.key_id,
            wish.model,
            wish.caller.team,
            msgspec.json.encode(wish.tags).decode(),
            msgspec.msgpack.encode(windows),
        ),
    )


def extend(call_id: str, nanodollars: int, budgets: Iterable[Budget]) -> Work[None]:
    """Hold more for a call, in the budgets that hold for it now. Raises BudgetExceededError."""
    rows = yield Query(
        "UPDATE reservations SET nanodollars = nanodollars + ? WHERE call = ? "
        "RETURNING nanodollars, windows",
        (nanodollars, pack_id(call_id)),
    )
    if not rows:
        raise _no_hold(call_id)
    yield from hold_more(budgets, _windows(rows[0]), nanodollars)


def settle(
    call_id: str,
    entries: Sequence[Entry],
    budgets: Sequence[Budget],
    *,
    unconfirmed: int,
    expires_at: int,
) -> Work[list[Alert]]:
    """Write the charges and free the hold; nothing, when the call was settled before."""
    if (yield from ledger.has_call(call_id)):
        return []
    rows = yield Query(
        "SELECT nanodollars, windows FROM reservations WHERE call = ?", (pack_id(call_id),)
    )
    yield from booking.append(entries)
    spent = sum(each.nanodollars for each in entries)
    if not rows:  # it was served although nothing could be held
        windows = yield from windows_of(entries[0], budgets)
        yield from move(windows, reserved=0, spent=spent)
        return (yield from alerts(budgets, windows))
    held, windows = rows[0][0], _windows(rows[0])
    kept = kept_of(held, spent, unconfirmed)
    yield from move(windows, reserved=kept - held, spent=spent)
    if kept:
        yield Query(
            "UPDATE reservations SET state = 'unconfirmed', nanodollars = ?, expires_at = ? "
            "WHERE call = ?",
            (kept, expires_at, pack_id(call_id)),
        )
    else:
        yield Query("DELETE FROM reservations WHERE call = ?", (pack_id(call_id),))
    return (yield from alerts(budgets, windows))


def kept_of(held: int, spent: int, unconfirmed: int) -> int:
    """What of a hold stays when its call is settled: no more than the charge left over."""
    return min(unconfirmed, max(0, held - spent))


def free(call_id: str) -> Work[bool]:
    """Give a hold back; False when there is none."""
    rows = yield Query(
        "DELETE FROM reservations WHERE call = ? RETURNING nanodollars, windows",
        (pack_id(call_id),),
    )
    if rows:
        yield from move(_windows(rows[0]), reserved=-rows[0][0], spent=0)
    return bool(rows)


def decide(call_id: str, nanodollars: int | None) -> Work[None]:
    """End a hold by hand: that much was charged; None: nothing was.

    Raises NotFoundError; ConflictError while the call runs, since its own settlement is to come.
    """
    rows = yield Query("SELECT state FROM reservations WHERE call = ?", (pack_id(call_id),))
    if not rows:
        raise _no_hold(call_id)
    if rows[0][0] == "open":
        raise ConflictError(
            f"The call '{call_id}' is still running.", hint="It settles by itself when it ends."
        )
    if nanodollars is None:
        yield from free(call_id)
    else:
        yield from confirm(call_id, nanodollars)


def confirm(call_id: str, nanodollars: int, *, request_id: str | None = None) -> Work[None]:
    """Turn a hold into a charge. request_id: what the provider's invoice calls it."""
    rows = yield Query(
        "DELETE FROM reservations WHERE call = ? "
        "RETURNING nanodollars, windows, at, key_id, model, team, tags",
        (pack_id(call_id),),
    )
    row = rows[0]
    yield from move(_windows(row), reserved=-row[0], spent=nanodollars)
    known = yield ledger.select_call(call_id)
    template = ledger.entry(known[0]) if known else None
    simulated = template.flags & ledger.SIMULATED if template else 0
    yield from booking.append(
        [
            Entry(
                call_id=call_id,
                at=row[2],
                key_id=row[3],
                model=row[4],
                team=row[5],
                tags=tuple(msgspec.json.decode(row[6])),
                deployment=template.deployment if template else None,
                provider=template.provider if template else None,
                served_model=template.served_model if template else None,
                nanodollars=nanodollars,
                flags=ledger.CORRECTION | simulated,
                request_id=request_id,
            )
        ]
    )


def orphan(instances: Sequence[str]) -> Work[int]:
    """Mark the open holds of dead processes. Returns how many."""
    count = 0
    for instance in instances:
        rows = yield Query(
            "UPDATE reservations SET state = 'orphaned' WHERE state = 'open' AND instance = ? "
            "RETURNING call",
            (instance,),
        )
        count += len(rows)
    return count


def expire(now: int) -> Work[int]:
    """Free the holds whose time is over. Returns how many."""
    rows = yield Query(
        "SELECT call FROM reservations WHERE expires_at IS NOT NULL AND expires_at <= ?", (now,)
    )
    freed = 0
    for (call,) in rows:
        freed += yield from free(unpack_id(bytes(call)))
    return freed


def windows_of(entry: Entry, budgets: Iterable[Budget]) -> Work[list[Window]]:
    """The windows in which a row of the ledger counts."""
    names = yield from key_names()
    caller = Caller(
        key_id=entry.key_id, name=names.get(entry.key_id, entry.key_id), team=entry.team
    )
    return [
        Window(b.name, window_start(b.window, entry.at / 1000))
        for b in budgets
        if b.matches(caller, entry.model, entry.tags)
    ]


def so_far(
    budget: Budget, start_at: int, *, joined: list[bytes] | None = None
) -> Work[tuple[int, int]]:
    """What counts for a window that begins now: nanodollars spent, and held by calls under way.

    joined: takes up the calls whose hold counts in other windows from now on.
    """
    names = yield from key_names()
    spent = yield from ledger.spent(budget, start_at, window_end(budget.window, start_at), names)
    held = yield from _join(budget, Window(budget.name, start_at), names, joined)
    return spent, held


def key_names() -> Work[dict[str, str]]:
    """Each key's name by its id."""
    return dict((yield Query("SELECT id, name FROM keys")))


def _join(
    budget: Budget, window: Window, names: Mapping[str, str], joined: list[bytes] | None
) -> Work[int]:
    """Let the holds of calls under way count in a window that begins now. Returns their sum."""
    held = 0
    rows = yield Query(
        "SELECT nanodollars, windows, call, at, key_id, model, team, tags FROM reservations"
    )
    for row in rows:
        before = _windows(row)
        windows = [each for each in before if each != window]
        caller = Caller(key_id=row[4], name=names.get(row[4], row[4]), team=row[6])
        is_inside = window_start(budget.window, row[3] / 1000) == window.start_at
        if is_inside and budget.matches(caller, row[5], msgspec.json.decode(row[7])):
            windows.append(window)
            held += row[0]
        windows.sort(key=lambda each: (each.budget, each.start_at))
        if windows != before:
            if joined is not None:
                joined.append(bytes(row[2]))
            yield Query(
                "UPDATE reservations SET windows = ? WHERE call = ?",
                (msgspec.msgpack.encode(windows), row[2]),
            )
    return held


def windows_from(packed: bytes) -> list[Window]:
    """The windows as a hold's row keeps them."""
    return msgspec.msgpack.decode(bytes(packed), type=list[Window])


def windows_to(windows: Sequence[Window]) -> bytes:
    """The same, packed."""
    return msgspec.msgpack.encode(windows)


def _windows(row: Row) -> list[Window]:
    return windows_from(row[1])


def _no_hold(call_id: str) -> NotFoundError:
    return NotFoundError(
        f"No money is held for call '{call_id}'.",
        hint="`farthing spend --unsettled` lists the holds.",
    )
