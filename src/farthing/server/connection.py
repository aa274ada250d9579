"""Uvicorn's connection with bounds on the request's head: its size, and how long it may take."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Request line and headers together. The parser itself has no bound.
MAX_HEAD_BYTES = 64 * 1024
#: A new connection must have sent its first head within this time.
FIRST_HEAD_S = 30.0


class BoundedConnection(HttpToolsProtocol):
    """Refuses a head that grows beyond `MAX_HEAD_BYTES` with a 400, and closes a connection that idles."""

    _head_bytes = 0
    _is_in_head = False
    _expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expiry = self.loop.call_later(FIRST_HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_expiry()
        super().connection_lost(exc)
        # Uvicorn leaves this timer running after a reset; it would hold the whole connection for its time.
        self._unset_keepalive_if_required()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._forget_expiry()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The request's headers are larger than {MAX_HEAD_BYTES} bytes.")

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
