"""Reconciliation: the ledger is made equal to a provider's invoice by appended corrections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from farthing.accounts import booking, holds, ledger
from farthing.accounts.budgets import Budget, move
from farthing.accounts.ledger import Entry
from farthing.accounts.packing import pack_id, unpack_id, unpack_request
from farthing.base.storage import Query, Work
from farthing.core.usage import Usage

#: Rows of the ledger that are looked at together; bounds the memory of a long ledger.
PAGE = 20_000


class InvoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a provider's usage export. request_id: the provider's; call_id: ours, where it says it.

    Lines of the same request are summed: some exports split input and output.
    """

    nanodollars: int
    request_id: str | None = None
    call_id: str | None = None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What a reconciliation did. corrected: rows appended. settled: open holds that the invoice decided.
    unknown: lines of the invoice that belong to no call here."""

    matched: int
    corrected: int
    settled: int
    difference_nanodollars: int
    unknown: tuple[str, ...]


class _Booked:
    """What the ledger says about the calls and requests of an invoice. Entries by row number."""

    def __init__(self, lines: Sequence[InvoiceRow]) -> None:
        self.requests = {line.request_id: 0 for line in lines if line.request_id}
        self.calls = {line.call_id: 0 for line in lines if line.call_id}
        self.row_of_request: dict[str, int] = {}
        self.row_of_call: dict[str, int] = {}

    def read(self) -> Work[None]:
        last = 0
        while rows := (
            yield Query(
                "SELECT id, call, request, nanodollars FROM ledger WHERE id > ? ORDER BY id LIMIT ?",
                (last, PAGE),
            )
        ):
            last = rows[-1][0]
            for number, packed, stored, nanodollars in rows:
                request, call = unpack_request(stored), unpack_id(bytes(packed))
                if request is not None and request in self.requests:
                    self.requests[request] += nanodollars
                    self.row_of_request.setdefault(request, number)
                if call in self.calls:
                    self.calls[call] += nanodollars
                    self.row_of_call.setdefault(call, number)

    def note(self, call_id: str) -> Work[None]:
        """The hold of this call has become a row, which further lines (its other tries) go by."""
        rows = yield Query("SELECT max(id) FROM ledger WHERE call = ?", (pack_id(call_id),))
        self.row_of_call[call_id] = rows[0][0]


def reconcile(given: Iterable[InvoiceRow], budgets: Sequence[Budget]) -> Work[Reconciliation]:
    """Append what is missing, and decide the holds that the invoice names.

    Lines are joined by the provider's request id, else by our call id. Doing it twice changes nothing.
    """
    lines = _summed(given)
    booked = _Booked(lines)
    yield from booked.read()
    held = {
        unpack_id(bytes(row[0])): row[1] != "open"
        for row in (yield Query("SELECT call, state FROM reservations"))
    }
    matched = corrected = settled = difference = 0
    unknown = []
    for line in lines:
        call_id = line.call_id or ""
        if line.request_id in booked.row_of_request:
            matched += 1
            known = yield from _entry(booked.row_of_request[line.request_id])
            delta = line.nanodollars - booked.requests[line.request_id]
            if held.pop(known.call_id, False):
                yield from holds.free(known.call_id)
                settled += 1
        elif held.pop(call_id, False):
            yield from holds.confirm(call_id, line.nanodollars, request_id=line.request_id)
            yield from booked.note(call_id)
            settled += 1
            difference += line.nanodollars
            continue
        elif call_id in booked.row_of_call:
            known = yield from _entry(booked.row_of_call[call_id])
            # With a request id that is new here it is a try that we never heard of again.
            before = 0 if line.request_id else booked.calls[call_id]
            known = msgspec.structs.replace(known, request_id=line.request_id)
            delta = line.nanodollars - before
        else:
            unknown.append(line.request_id or call_id)
            continue
        if delta:
            corrected += 1
            difference += delta
            yield from _correct(known, delta, budgets)
    return Reconciliation(
        matched=matched,
        corrected=corrected,
        settled=settled,
        difference_nanodollars=difference,
        unknown=tuple(unknown),
    )


def _summed(lines: Iterable[InvoiceRow]) -> list[InvoiceRow]:
    sums: dict[tuple[str | None, str | None], InvoiceRow] = {}
    for line in lines:
        key = (line.request_id, None if line.request_id else line.call_id)
        so_far = sums[key].nanodollars if key in sums else 0
        sums[key] = msgspec.structs.replace(line, nanodollars=so_far + line.nanodollars)
    return list(sums.values())


def _entry(number: int) -> Work[Entry]:
    return ledger.entry((yield ledger.select_row(number))[0])


def _correct(entry: Entry, delta: int, budgets: Sequence[Budget]) -> Work[None]:
    """Append the difference, and let the budgets' windows know it."""
    yield from booking.append(
        [
            msgspec.structs.replace(
                entry,
                nanodollars=delta,
                usage=Usage(),
                flags=(entry.flags & ledger.SIMULATED) | ledger.CORRECTION,
            )
        ]
    )
    windows = yield from holds.windows_of(entry, budgets)
    yield from move(windows, reserved=0, spent=delta)
