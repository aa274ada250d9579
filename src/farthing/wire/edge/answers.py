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
CLOSE: Header = (b"connection", b"close")


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


def lay_out(opening: bytes, headers: Iterable[Header]) -> bytes:
    """A head up to and with its empty line. Raises ValueError for a header that would add lines."""
    parts = [opening]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    head = b"".join(parts)
    # Four parts a header, one line each; the opening brings two and the empty line one.
    lines = len(parts) // 4 + 3
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ValueError("A header of the answer holds a line's end.")
    return head


def refusal(opening: bytes, reason: str, *, is_head: bool = False) -> bytes:
    """A whole answer of one line of plain text, after which the connection closes."""
    body = reason.encode("ascii", "replace")
    head = lay_out(
        opening,
        (
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            CLOSE,
        ),
    )
    return head if is_head else head + body
