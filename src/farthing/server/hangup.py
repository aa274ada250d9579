"""Stops the work for a client that has hung up."""

from __future__ import annotations

import asyncio
from types import TracebackType

from farthing.server.exchange import ClientGoneError, Exchange


class StopOnHangup:
    """While the block runs, a closed connection cancels it and becomes ClientGoneError.

    A cancellation from outside (the server's shutdown) stays a cancellation.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._work: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._hung_up = False

    async def __aenter__(self) -> None:
        self._work = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._work is not None and self._watch is not None
        self._watch.cancel()
        if not self._hung_up:
            return
        if kind is None:
            # The cancellation was asked for but has not arrived; take it here, not in a stranger's await.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass
        is_only_ours = self._work.uncancel() == 0
        if is_only_ours and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise ClientGoneError from error

    async def _wait(self) -> None:
        await self._exchange.gone()
        if self._exchange.is_finished:
            return
        assert self._work is not None
        self._hung_up = True
        self._work.cancel()
