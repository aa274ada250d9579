"""Stops the work for a client that has hung up."""

from __future__ import annotations

import asyncio
from types import TracebackType

from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.refusal import ClientGoneError


class StopOnHangup:
    """While the block runs, a closed connection cancels it and becomes ClientGoneError.

    A cancellation from outside (the server's shutdown) stays a cancellation. Costs no task: the connection
    calls back.
    """

    __slots__ = ("_exchange", "_hung_up", "_work")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._work: asyncio.Task[object] | None = None
        self._hung_up = False

    async def __aenter__(self) -> None:
        self._work = asyncio.current_task()
        self._exchange.on_gone(self._hang_up)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exchange.on_gone(None)
        if not self._hung_up:
            return
        assert self._work is not None
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        if not is_cancelled:
            # The cancellation was asked for but has not arrived; take it here, not in a stranger's await.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass
        is_only_ours = self._work.uncancel() == 0
        if is_only_ours and (kind is None or is_cancelled):
            raise ClientGoneError from error

    def _hang_up(self) -> None:
        assert self._work is not None
        self._hung_up = True
        self._work.cancel()
