"""The head of an answer: where it ends, and what llhttp lets pass and we do not."""

from __future__ import annotations

from farthing.wire.upstream.errors import NotHttpError

#: Largest head of an answer with the interim (1xx) ones before it, bytes; vendors' are below 4 KiB.
MAX_HEAD_BYTES = 64 * 1024
#: Longest line of a head, bytes; nginx and others refuse to send more than 8 KiB.
MAX_LINE_BYTES = 16 * 1024
#: Most lines of a head. Vendors send 15 to 40.
MAX_LINES = 256
#: A head up to this size cannot be absurd, bytes; its lines are not counted.
_SMALL_HEAD_BYTES = 4096
_END = b"\r\n\r\n"


def cut_head(came: bytes, interim: int) -> bytes:
    """The answer's head, each line with its end, without the empty one.

    came: everything since the request, with one head or more that llhttp has accepted. interim: how many
    1xx heads go before. Raises NotHttpError for a head that is absurdly large or is not HTTP/1.x.
    """
    start = 0
    while interim:
        start = came.index(_END, start) + 4
        interim -= 1
    end = came.index(_END, start) + 2
    head = came[start:end]
    if head[:7] != b"HTTP/1.":
        raise NotHttpError("The answer's head is not HTTP/1.x.")
    if end > _SMALL_HEAD_BYTES:
        if end > MAX_HEAD_BYTES:
            raise NotHttpError("The answer's head is too large.")
        lines = head.split(b"\r\n")
        if len(lines) > MAX_LINES or max(map(len, lines)) > MAX_LINE_BYTES:
            raise NotHttpError("The answer's head has too many lines or too long a one.")
    return head


def check_coding(lower: bytes) -> None:
    """Refuse every transfer coding but exactly `chunked`. lower: the head in lower case.

    llhttp takes the last of several for the border of the body, and others take the first: an answer that
    two readers end differently puts the next one into the wrong hands (RFC 9112, 6.1 and 11.2).
    """
    at = lower.find(b"\r\ntransfer-encoding:")
    if at >= 0 and (
        lower[at + 20 : lower.index(b"\r", at + 20)].strip() != b"chunked"
        or lower.count(b"\r\ntransfer-encoding:") != 1
    ):
        raise NotHttpError("The answer's transfer coding is not chunked.")


def is_open_ended(lower: bytes) -> bool:
    """Whether the body lasts until the connection ends (RFC 9112, 6.3, rule 8)."""
    return b"\r\ncontent-length:" not in lower and b"\r\ntransfer-encoding:" not in lower
