"""The chunked transfer coding, read strictly and piece by piece (RFC 9112, 7.1)."""

from __future__ import annotations

import re

from farthing.wire.edge.head import Lines
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.refusal import malformed

#: Plain hexadecimal, at most 4 GiB; no sign, no prefix, no space. Behind it an extension, which is dropped.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_LINE = 256


class ChunkReader:
    """Takes the coding off a body that arrives in pieces. `is_done` after the last trailer's empty line."""

    def __init__(self, limits: Limits) -> None:
        self.is_done = False
        self._limits = limits
        self._held = b""
        self._left = 0  # of the chunk's data; its CR LF follows
        self._is_in_chunk = False
        self._is_in_trailers = False
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes:
        """Append the body's bytes in `data` to `pieces`; returns what lies behind the body's end.

        Raises RefusedError.
        """
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while not self.is_done:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    return b""
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._hold(data[at:])
                return b""
            self._line(data[at:end])
            at = end + 2
        return data[at:]

    def _hold(self, part: bytes) -> None:
        if self._is_in_chunk and part not in (b"", b"\r"):
            raise malformed("A chunk is longer than its size says.")
        if b"\n" in part or b"\r" in part[:-1]:
            raise malformed("A line of the chunked body does not end in CR LF.")
        limit = self._limits.trailers if self._is_in_trailers else _SIZE_LINE
        if len(part) > limit:
            raise malformed("A line of the chunked body is too long.")
        self._held = part

    def _line(self, line: bytes) -> None:
        if self._is_in_chunk:  # the end of a chunk's data: nothing may stand before CR LF
            if line:
                raise malformed("A chunk is longer than its size says.")
            self._is_in_chunk = False
        elif self._is_in_trailers:
            self._trailer(line)
        else:
            self._size(line)

    def _size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None or len(line) > _SIZE_LINE:
            raise malformed("A chunk's size is not a plain hexadecimal number.")
        self._extensions += len(line) - found.end(1)
        if self._extensions > self._limits.chunk_extensions:
            raise malformed("The chunks carry too many extensions.")
        self._left = int(found[1], 16)
        self._is_in_chunk = self._left > 0
        self._is_in_trailers = self._left == 0

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.is_done = True
            return
        self._trailers += len(line)
        if self._trailers > self._limits.trailers:
            raise malformed("The headers behind the body are too large.")
        Lines()[line]
