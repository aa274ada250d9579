"""A way through a proxy: CONNECT and its answer, before TLS begins inside."""

from __future__ import annotations

import asyncio
from typing import cast

from farthing.wire.upstream.errors import ConnectError

#: Largest answer to CONNECT, bytes.
_MAX_BYTES = 16 * 1024


class Tunnel(asyncio.Protocol):
    """Asks as soon as it is connected.

    authority: `host:port` of the origin. authorization: the header line for the proxy, or empty.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, authority: str, authorization: bytes
    ) -> None:
        name = authority.encode()
        self._request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (name, name, authorization)
        self._answer = b""
        self._outcome: asyncio.Future[str] = loop.create_future()

    async def opened(self) -> None:
        """Wait for the proxy's consent. Raises ConnectError saying what it answered instead."""
        refusal = await self._outcome
        if refusal:
            raise ConnectError(refusal)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do everything that asyncio's do, but do not inherit from them.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, surplus = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > _MAX_BYTES:
                self._settle("the proxy's answer is not HTTP")
            return
        version, _, rest = head.partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            self._settle("the proxy's answer is not HTTP")
        elif not status.startswith(b"2"):
            self._settle(f"the proxy answered with status {status.decode()}")
        else:
            # The server in the tunnel speaks only after us: early words are the proxy's own.
            self._settle("the proxy's answer is not HTTP" if surplus else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle("the proxy closed the connection")

    def _settle(self, refusal: str) -> None:
        if not self._outcome.done():
            self._outcome.set_result(refusal)
