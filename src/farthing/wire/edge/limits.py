"""The bounds that hold for every connection, with their defaults and units."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may cost. Bytes unless the name says otherwise; `_s` is seconds.

    Times are kept by one sweep over all connections (`sweep_s`), so they hold to about a second.
    """

    #: Method, target and version. A longer one is 414.
    request_line: int = 16 * 1024
    #: Request line and headers together.
    head: int = 64 * 1024
    #: Header fields of one request.
    header_count: int = 200
    #: A connection must have sent its first head, and each head its last byte, within this time.
    head_s: float = 30.0
    #: A connection without a request is closed after this long; longer than common load balancers' 60 s,
    #: so that they, not we, close first.
    idle_s: float = 75.0
    #: A body may take this long to arrive, whatever its size.
    body_s: float = 120.0
    #: Slower bodies are refused before that: bytes per second, looked at every `body_look_s`.
    body_rate: float = 200.0
    body_look_s: float = 15.0
    #: How much of a body is taken in before somebody asks for it.
    read_ahead: int = 256 * 1024
    #: Bytes of later requests that are kept while one is answered; beyond, reading stops.
    pipelined: int = 64 * 1024
    #: The rest of a body that nobody wants is read and thrown away up to here, so that the connection can
    #: go on; beyond, it is closed.
    discard: int = 8 * 1024 * 1024
    discard_s: float = 10.0
    #: Chunk extensions of one body. Nobody uses them but attackers.
    chunk_extensions: int = 4 * 1024
    #: Headers behind a chunked body; read and dropped.
    trailers: int = 16 * 1024
    #: Unsent bytes at which a producer is asked to pause.
    high_water: int = 64 * 1024
    #: Unsent bytes that a producer may pile up in spite of that; beyond, the reader is treated as gone.
    unsent: int = 1024 * 1024
    #: A client that takes no bytes for this long, while we have some for it, is treated as gone.
    stalled_reader_s: float = 120.0
    #: A client that has shut down its sending side is answered when the answer begins within this time;
    #: after it, it is treated as gone. (A closed connection looks the same until something is written.)
    half_close_s: float = 1.0
    #: After a refusal the connection is read and thrown away for so long, so that the refusal arrives: a
    #: close on unread bytes makes the kernel send a reset instead.
    linger_s: float = 2.0
    #: When another process takes over: how long clients may still send what they have connected for.
    hand_over_s: float = 2.0
    #: Open connections, in all and of one address.
    connections: int = 50_000
    connections_per_address: int = 20_000

    @property
    def sweep_s(self) -> float:
        """How often the deadlines are looked at."""
        shortest = min(
            self.head_s,
            self.idle_s,
            self.body_s,
            self.body_look_s,
            self.discard_s,
            self.stalled_reader_s,
            self.half_close_s,
            self.linger_s,
        )
        return min(1.0, shortest / 4)
