"""What an exchange needs of its connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from farthing.wire.edge.limits import Limits

if TYPE_CHECKING:
    from farthing.wire.edge.exchange import Exchange


class Link(Protocol):
    """The connection. write: hands bytes to the transport. is_paused: it holds as many as it should."""

    limits: Limits
    write: Callable[[bytes], None]
    is_paused: bool

    def lay_out(self, exchange: Exchange, status: int, lines: bytes) -> bytes:
        """The answer's head; decides whether the connection goes on after the answer."""

    def invite_body(self, exchange: Exchange) -> None:
        """The body is wanted now."""

    def finished(self, exchange: Exchange) -> None:
        """The answer's last byte was written."""

    def abandon(self) -> None:
        """Cut the connection: its reader is too far behind."""

    async def drained(self) -> None:
        """Wait until the transport takes more. Raises ClientGoneError."""
