"""Rates: requests and tokens per minute, counted exactly over all processes of a host.

The generic cell rate algorithm (ITU-T recommendation I.371, 2004, annex A): of each limit one number is
kept, the moment at which all that was admitted so far has passed at the limit's pace. A call is admitted
if that moment, with the call added, lies no further ahead than the burst. So over any span W no more than
burst + rate × W is admitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from farthing.base.config.settings import Rate as RateTable
from farthing.base.storage.board import Board, key_of
from farthing.core.calls import Caller
from farthing.core.errors import RateLimitedError

_MINUTE_NS = 60_000_000_000
#: A moment further ahead than its burst and this was written before the clock was set back, nanoseconds.
_STRAY_NS = 120_000_000_000


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One number that is limited. at: its words on the board: the moment, and the sum of all refunds.

    unit: `requests` or `tokens`; counts_tokens: it is the latter. one_ns: how long one lasts at the limit's pace.
    """

    at: int
    table: RateTable
    name: str
    unit: str
    counts_tokens: bool
    per_minute: int
    one_ns: int
    burst_ns: int

    def cost_ns(self, count: int) -> int:
        """How long so many last at the limit's pace, rounded up."""
        return -(-count * _MINUTE_NS // self.per_minute)

    def matches(self, caller: Caller, model: str, tags: Sequence[str]) -> bool:
        """Whether a call counts against it."""
        table = self.table
        return (
            (table.key is None or table.key in (caller.key_id, caller.name))
            and (table.team is None or table.team == caller.team)
            and (table.model is None or table.model == model)
            and (table.tag is None or table.tag in tags)
        )


class Charge(msgspec.Struct, frozen=True):
    """What a call takes of a limit. cost: how long `count` lasts at the limit's pace, nanoseconds.

    until: the limit's moment with this call, unix nanoseconds. moved: the limit's sum of refunds when it
    was charged.
    """

    limit: Limit
    count: int
    cost: int
    until: int
    moved: int


class Rates:
    """The limits of the settings, on a board."""

    def __init__(self, tables: dict[str, RateTable]) -> None:
        self.limits: tuple[Limit, ...] = ()
        self.configure(tables)

    def place(self, board: Board) -> tuple[Limit, ...]:
        """Find each limit's words. Under the board's lock. One for which there is no room limits nothing."""
        found = []
        for name, table in self._tables.items():
            for unit, per_minute in (
                ("requests", table.requests_per_minute),
                ("tokens", table.tokens_per_minute),
            ):
                at = None if per_minute is None else board.rate(key_of("rate", name, unit))
                if at is not None and per_minute is not None:
                    one = -(-_MINUTE_NS // per_minute)
                    limit = Limit(
                        at=at,
                        table=table,
                        name=name,
                        unit=unit,
                        counts_tokens=unit == "tokens",
                        per_minute=per_minute,
                        one_ns=one,
                        burst_ns=max(int(table.burst_s * 1e9), one),
                    )
                    found.append(limit)
        self.limits = tuple(found)
        return self.limits

    def configure(self, tables: dict[str, RateTable]) -> None:
        """Take new settings; `place` must follow."""
        self._tables = tables
        #: Whether one of them counts tokens.
        self.counts_tokens = any(table.tokens_per_minute is not None for table in tables.values())

    @property
    def is_any(self) -> bool:
        """Whether the settings have rates."""
        return bool(self._tables)


def ask(
    words: memoryview[int], limits: Sequence[Limit], *, tokens: int, now_ns: int
) -> tuple[Charge, ...]:
    """What a call takes of each limit, nothing taken yet. Raises RateLimitedError. Under the lock."""
    charges = []
    for limit in limits:
        at, burst, count, cost = limit.at, limit.burst_ns, 1, limit.one_ns
        if limit.counts_tokens:
            count, cost = tokens, limit.cost_ns(tokens)
        ahead = words[at] - now_ns
        if ahead < 0:
            ahead = 0
        elif ahead > burst:
            ahead = _moment(words, limit, now_ns) - now_ns
        ahead += cost
        if ahead > burst and count:
            raise _refusal(limit, count, ahead - burst)
        charges.append(Charge(limit, count, cost, now_ns + ahead, words[at + 1]))
    return tuple(charges)


def take(words: memoryview[int], charges: Sequence[Charge]) -> None:
    """Take what `ask` found. Under the same lock."""
    for charge in charges:
        words[charge.limit.at] = charge.until


def correct(
    words: memoryview[int], charges: Sequence[Charge], *, tokens: int | None, now_ns: int
) -> None:
    """Make the charge what was used: `tokens`; None: the call was never sent, all of it goes back.

    Under the lock. What has passed already is not given back: others were kept waiting for it by nobody,
    and to give it back would admit more than the burst and the rate together.
    """
    for charge in charges:
        limit = charge.limit
        used = 0 if tokens is None else tokens if limit.counts_tokens else 1
        if used == charge.count:
            continue
        if used < charge.count:
            # Refunds to others since then may have moved this call's own end forward by as much.
            at = limit.at
            ahead = charge.until - (words[at + 1] - charge.moved) - now_ns
            refund = min(charge.cost - limit.cost_ns(used), ahead)
            if refund > 0:
                words[at] -= refund
                words[at + 1] += refund
        else:
            extra = limit.cost_ns(used - charge.count)
            latest = now_ns + limit.burst_ns + _STRAY_NS // 2
            words[limit.at] = min(_moment(words, limit, now_ns) + extra, latest)


def _moment(words: memoryview[int], limit: Limit, now_ns: int) -> int:
    """When all that was admitted has passed; never before now.

    A stray one is put right here and now: if each question only passed over it, nothing would drain until
    the clock is where it was.
    """
    moment = words[limit.at]
    if moment > now_ns + limit.burst_ns + _STRAY_NS:
        moment = words[limit.at] = now_ns + limit.burst_ns
    return max(moment, now_ns)


def _refusal(limit: Limit, count: int, wait_ns: int) -> RateLimitedError:
    name, per_minute = limit.name, f"{limit.per_minute:,} {limit.unit} per minute"
    if limit.cost_ns(count) > limit.burst_ns:
        most = limit.burst_ns * limit.per_minute // _MINUTE_NS
        return RateLimitedError(
            f"Rate '{name}' lets at most {most:,} {limit.unit} pass at once ({per_minute}), and this "
            f"request could take {count:,}.",
            hint=f"Lower max_tokens, or raise burst_s under [rates.{name}].",
            retryable=False,
        )
    wait_s = wait_ns / 1e9
    return RateLimitedError(
        f"Rate '{name}' ({per_minute}) is used up.",
        hint=f"Try again in {wait_s:.3g} seconds, or raise it under [rates.{name}].",
        retry_after_s=wait_s,
    )
