"""The heads of answers: status lines, the date once a second, headers laid out in one piece."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus

Header = tuple[bytes, bytes]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: The end of a chunked body.
LAST_CHUNK = b"0\r\n\r\n"
#: The end of a head, by what becomes of the connection.
KEPT = b"\r\n"
KEPT_SAID = b"connection: keep-alive\r\n\r\n"
CLOSED = b"connection: close\r\n\r\n"


class Openings(dict[int, bytes]):
    """Status → status line and date, good for one second: `tell` empties it."""

    _date = b""

    def tell(self, unix_seconds: float) -> None:
        """What time it is."""
        date = http_date(unix_seconds)
        if date != self._date:
            self._date = date
            self.clear()

    def __missing__(self, status: int) -> bytes:
        try:
            reason = HTTPStatus(status).phrase
        except ValueError:
            reason = "Status"
        line = b"HTTP/1.1 %d %b\r\ndate: %b\r\n" % (status, reason.encode("ascii"), self._date)
        self[status] = line
        return line


def http_date(unix_seconds: float) -> bytes:
    """RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the locale."""
    at = datetime.fromtimestamp(unix_seconds, UTC)
    text = f"{_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT"
    return text.encode("ascii")


def lines_of(headers: Iterable[Header]) -> bytes:
    """Headers laid out, one line each. Raises ValueError for a header that would add lines."""
    parts: list[bytes] = []
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    lines = b"".join(parts)
    count = len(parts) // 4
    if lines.count(b"\n") != count or lines.count(b"\r") != count:
        raise ValueError("A header of the answer holds a line's end.")
    return lines


def refusal(opening: bytes, reason: str, *, is_head: bool = False) -> bytes:
    """A whole answer of one line of plain text, after which the connection closes."""
    body = reason.encode("ascii", "replace")
    told = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)
    head = opening + told + CLOSED
    return head if is_head else head + body
