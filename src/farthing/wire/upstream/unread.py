"""Whether a request that got no answer was never seen: what the kernel knows about its bytes."""

from __future__ import annotations

import asyncio
import struct
import sys

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover -- Windows: nothing is known there, and nothing is claimed
    fcntl = termios = None  # type: ignore[assignment]


def is_unacknowledged(transport: asyncio.Transport | None, size: int) -> bool:
    """Whether none of the last `size` bytes that we sent was acknowledged when the server's end came.

    Every TCP segment acknowledges all that its sender's kernel has taken in, so an end that leaves the
    request unacknowledged was sent before the request arrived: the server closed an idle connection, and
    no application will ever read these bytes. True only where Linux says so (`tcp(7)`, SIOCOUTQ: unsent
    and unacknowledged bytes). What was sent before them was answered, so all of it is acknowledged; TLS
    makes bytes more, never fewer.
    """
    if transport is None or not sys.platform.startswith("linux"):
        return False
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return False
    return int(struct.unpack("i", answer)[0]) >= size > 0
