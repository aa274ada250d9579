"""Server-sent events: any split of the bytes into complete frames, each with its exact bytes."""

from __future__ import annotations

import re

import msgspec

from farthing.core.errors import UpstreamProtocolError

#: The most bytes that one frame may have: an inline image fits, an endless line does not.
MAX_FRAME_BYTES = 64 * 1024 * 1024

_END = re.compile(rb"\n\n|\r\n\r\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_RETURN = ord("\r")


class Frame(msgspec.Struct, frozen=True):
    """One frame. wire: its bytes with the blank line. data: its `data` lines joined, None without any."""

    wire: bytes
    event: str | None
    data: bytes | None

    def __repr__(self) -> str:
        return f"Frame({len(self.wire)} bytes)"


class SseSplitter:
    """Collects bytes until a blank line ends a frame. The frames' bytes, joined, are the stream's.

    rest: bytes of a frame that has not ended. While it is empty, the next byte begins a frame.
    """

    __slots__ = ("_searched", "rest")

    def __init__(self) -> None:
        self.rest = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that this chunk completes. Raises UpstreamProtocolError for an endless frame."""
        buffer = self.rest
        # A vendor's server writes one event at a time, and nearly always it comes as it was written.
        if not buffer and _is_one_plain_frame(chunk):
            return [Frame(chunk, None, chunk[6:-2])]
        buffer += chunk
        frames = []
        start, position = 0, self._searched
        while (found := _END.search(buffer, position)) is not None:
            start, end = found.end(), start
            frames.append(parse_frame(bytes(buffer[end:start])))
            position = start
        if start:
            del buffer[:start]
        # A separator may have begun in the last three bytes.
        self._searched = max(len(buffer) - 3, 0)
        if len(buffer) > MAX_FRAME_BYTES:
            raise UpstreamProtocolError(
                f"The provider sent an event of more than {MAX_FRAME_BYTES // 2**20} MiB."
            )
        return frames

    @property
    def pending(self) -> bytes:
        """Bytes of a frame that has not ended."""
        return bytes(self.rest)


def _is_one_plain_frame(chunk: bytes) -> bool:
    is_framed = chunk.startswith(b"data: ") and chunk.endswith(b"\n\n")
    return is_framed and chunk.count(b"\n") == 2 and _RETURN not in chunk


def parse_frame(wire: bytes) -> Frame:
    """Event name and data of one frame (WHATWG HTML, section 9.2.6)."""
    event, data = None, []
    for line in _LINE.split(wire):
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(wire=wire, event=event, data=b"\n".join(data) if data else None)
