"""What a supervisor and its workers say to each other: small messages over a socket pair."""

from __future__ import annotations

import asyncio
import socket
from typing import Literal

import msgspec

#: Beyond this a message is a mistake, bytes.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_LENGTH_BYTES = 4


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message.

    ready: the worker answers requests. tell, told: the supervisor asks for a worker's series and gets them
    (also unasked). collect, collected: a worker asks for the series of all others. number: of the question.
    """

    kind: Literal["ready", "tell", "told", "collect", "collected"]
    number: int = 0
    data: bytes = b""


_DECODER = msgspec.msgpack.Decoder(Message)


class Channel:
    """One end. Iterate it for what the other end says; the iteration ends when the other end is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Over one socket of a pair, which belongs to the channel from now on."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Say it. Nothing happens when the other end is gone: the iteration tells."""
        body = msgspec.msgpack.encode(message)
        if not self._writer.is_closing():
            self._writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> Message:
        try:
            size = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if size > MAX_MESSAGE_BYTES:
                raise StopAsyncIteration
            return _DECODER.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Leave. Idempotent."""
        self._writer.close()
