"""What can go wrong between two machines, in the words of HTTP; `providers` turns it into ours.

WireError
├── ConnectError           no connection: refused, unresolvable, unroutable; nothing was sent
│   ├── CertificateError   TLS failed, or the certificate is not to be trusted
│   └── ConnectTimeoutError
├── NoAnswerError          the connection ended before the answer's head was complete
├── NotHttpError           what came is no HTTP/1.x answer, or one of ambiguous length
├── BrokenAnswerError      the body stopped before its end
├── SilenceError           nothing came for too long
├── TooLargeError          more bytes than the caller allows
└── CompressionError       the body's compression is unknown, broken, or a bomb

No message quotes a byte that came: it may be an answer's text.
"""

from __future__ import annotations


class WireError(Exception):
    """The root."""


class ConnectError(WireError):
    """`reason`: a few words for a sentence, such as "connection refused"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CertificateError(ConnectError):
    """TLS failed, or the certificate is not to be trusted."""


class ConnectTimeoutError(ConnectError):
    """No address could be connected to within the time for it."""

    def __init__(self) -> None:
        super().__init__("timed out")


class NoAnswerError(WireError):
    """The connection ended before the answer's head was complete.

    is_unsent: it is certain that the peer's application never saw the request (see `Connection`).
    """

    def __init__(self, *, is_unsent: bool) -> None:
        super().__init__("The connection ended before the answer.")
        self.is_unsent = is_unsent


class NotHttpError(WireError):
    """What came is no HTTP/1.x answer, one of ambiguous length, or one with an absurd head."""


class BrokenAnswerError(WireError):
    """The body stopped before its end."""


class SilenceError(WireError):
    """Nothing came for too long. is_total: it was the time for the whole exchange that ran out."""

    def __init__(self, *, is_total: bool) -> None:
        super().__init__("The whole took too long." if is_total else "Nothing came.")
        self.is_total = is_total


class TooLargeError(WireError):
    """More bytes than the caller allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The answer has more than {limit} bytes.")
        self.limit = limit


class CompressionError(WireError):
    """`what` completes "an answer whose compression …"; empty for a coding that is not known."""

    def __init__(self, what: str = "") -> None:
        super().__init__(what or "is unknown")
        self.what = what
