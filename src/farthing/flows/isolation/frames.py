"""What a worker and its parent say to each other: frames on a socket, each with its length before it.

What only a worker can read (objects of the flow's own classes) travels pickled inside of a frame, and its
parent passes it on unread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import msgspec

from farthing.flows.engine.plan import Trace
from farthing.flows.isolation.errors import Told
from farthing.flows.models import Spent

_LENGTH = struct.Struct("!Q")


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One message, either way."""


# --- from the parent ---


class Begin(Frame, frozen=True, kw_only=True):
    """Open the flow.

    argv, folder: the parent's arguments and working directory, encoded. main: see `main_module`. opening:
    pickled arguments of `open_flow`. is_whole: hand lines back as the objects that they are, in place of JSON.
    """

    argv: list[bytes]
    folder: bytes
    main: list[str] | None
    opening: bytes
    is_whole: bool


class RunLine(Frame, frozen=True, kw_only=True):
    """Run a line. inputs: pickled."""

    number: int | None
    inputs: bytes


class Behind(Frame, frozen=True, kw_only=True):
    """A line for the aggregation to come: a pickled LineResult."""

    line: bytes


class Aggregate(Frame, frozen=True, kw_only=True):
    """Run what is behind all lines, on those that came as `Behind`."""


class Piece(Frame, frozen=True, kw_only=True):
    """A piece of the text that a model streams to the call `id`."""

    id: int
    text: str


class Answered(Frame, frozen=True, kw_only=True):
    """The call `id` is over. body: the answer as JSON; empty behind pieces. error: what it failed with."""

    id: int
    spent: Spent
    body: bytes = b""
    error: Told | None = None


class Stop(Frame, frozen=True, kw_only=True):
    """End in good order."""


# --- from the worker ---


class Opened(Frame, frozen=True, kw_only=True):
    """The flow is open. flow: pickled. has_end: something runs behind all lines."""

    flow: bytes
    has_end: bool


class Refused(Frame, frozen=True, kw_only=True):
    """The flow cannot be opened."""

    error: Told


class Ask(Frame, frozen=True, kw_only=True):
    """Call a model. api, body (JSON): see `models.Models`."""

    id: int
    api: str
    body: bytes
    is_stream: bool


class Cancel(Frame, frozen=True, kw_only=True):
    """The call `id` is not waited for any longer."""

    id: int


class Over(Frame, frozen=True, kw_only=True):
    """A line, or what is behind all lines, has run: a LineResult in parts.

    inputs, outputs, values: JSON, for the store; None where JSON has nothing for them, or where they are not
    asked for. carried: pickled, for those behind all lines, or the whole result.
    """

    error: Told | None = None
    inputs: bytes | None = None
    outputs: bytes | None = None
    values: bytes | None = None
    carried: bytes | None = None
    metrics: dict[str, float] = {}
    bypassed: list[str] = []
    traces: list[Trace] = []
    warnings: list[str] = []
    is_bare: bool = False


AnyFrame = (
    Begin
    | RunLine
    | Behind
    | Aggregate
    | Piece
    | Answered
    | Stop
    | Opened
    | Refused
    | Ask
    | Cancel
    | Over
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyFrame)


def packed(frame: Frame) -> bytes:
    """The frame with its length."""
    wire = _ENCODER.encode(frame)
    return _LENGTH.pack(len(wire)) + wire


async def read(reader: asyncio.StreamReader) -> AnyFrame:
    """The next frame, in the parent. Raises asyncio.IncompleteReadError at the end, msgspec.DecodeError."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    frame: AnyFrame = _DECODER.decode(await reader.readexactly(length))
    return frame


def receive(channel: socket.socket) -> AnyFrame | None:
    """The next frame, in the worker; it blocks. None: the parent is no more."""
    head = _exactly(channel, _LENGTH.size)
    wire = _exactly(channel, _LENGTH.unpack(head)[0]) if head else None
    frame: AnyFrame | None = _DECODER.decode(wire) if wire else None
    return frame


def _exactly(channel: socket.socket, count: int) -> bytearray | None:
    found = bytearray(count)
    view, filled = memoryview(found), 0
    while filled < count:
        try:
            came = channel.recv_into(view[filled:])
        except OSError:
            return None
        if not came:
            return None
        filled += came
    return found
