"""Decompression with bounds: an answer that swells as no text does is told long before it is unpacked."""

from __future__ import annotations

import zlib

from farthing.wire.upstream.errors import CompressionError

#: How much one step of decompression may produce, bytes, so that a bomb is met in small bites.
STEP_BYTES = 1024 * 1024
#: Above this size an answer that is so many times larger than what was sent is taken for a bomb. Text and
#: JSON of models compress 3 to 20 times; gzip cannot exceed 1,032 (zlib, "Maximum Compression Factor").
SUSPECT_BYTES = 4 * 1024 * 1024
MAX_SWELLING = 200


class Inflater:
    """One body's decompression: `give` it what came, `take` pieces until one is empty.

    Raises CompressionError from `take` when the data is broken or swells.
    """

    def __init__(self) -> None:
        # 32: gzip or zlib, told by the header
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._packed = b""
        self._packed_bytes = self._unpacked_bytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether the compressed stream has come to its own end."""
        return self._inflate.eof

    def give(self, packed: bytes) -> None:
        """More of the body. Everything given before must have been taken."""
        self._packed = packed
        self._packed_bytes += len(packed)

    def take(self) -> bytes:
        """At most STEP_BYTES of the plain body; empty when more must be given first."""
        while self._packed:
            try:
                piece = self._inflate.decompress(self._packed, STEP_BYTES)
            except zlib.error:
                raise CompressionError("is broken") from None
            self._packed = self._inflate.unconsumed_tail
            self._unpacked_bytes += len(piece)
            if self._unpacked_bytes > max(SUSPECT_BYTES, MAX_SWELLING * self._packed_bytes):
                raise CompressionError(f"swells more than {MAX_SWELLING} times")
            if piece:
                return piece
        return b""


def inflater(coding: str) -> Inflater | None:
    """For the value of `content-encoding`; None when the body is plain. Raises CompressionError."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip", "deflate"):
        return Inflater()
    raise CompressionError
