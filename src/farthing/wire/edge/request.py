"""The request's side of an exchange: what was asked, and the body within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from farthing.core.errors import BadRequestError, PayloadTooLargeError
from farthing.wire.edge.answers import Header
from farthing.wire.edge.head import RequestHead
from farthing.wire.edge.intake import Intake, TooLongError, TooSlowError
from farthing.wire.edge.refusal import ClientGoneError

#: A body that is too large is read and thrown away up to so many times its bound, so that the client gets
#: to read the answer: closing on a client that is still sending makes the kernel reset the connection.
DISCARDED_LIMITS = 8

_BYTES_PER_MB = 1_000_000


class Request:
    """One request as it arrived. Its fields are set by `Exchange`, the only thing that is made of it.

    method: in capitals. path: percent-decoded, without the query. scheme: `http` or `https`.
    client_host: the peer's address, as text. is_gone: the client has left, or is treated so.
    intake: the body, where it was not all there with the head and nobody has read it to its end.
    """

    __slots__ = (
        "_body",
        "_query",
        "client_host",
        "head",
        "intake",
        "is_gone",
        "method",
        "path",
        "scheme",
    )

    head: RequestHead
    method: str
    path: str
    client_host: str | None
    scheme: str
    intake: Intake | None
    is_gone: bool
    _body: bytes
    _query: dict[str, list[str]] | None

    @property
    def header_pairs(self) -> Sequence[Header]:
        """All headers in order, names in lower case."""
        parts = (line.partition(b":") for line in self.head.lines)
        return [(name.lower(), value.strip(b" \t")) for name, _, value in parts]

    def header(self, name: str) -> str | None:
        """One header's value (the last, where repeated); `name` in lower case."""
        return self.head.headers.get(name)

    def query(self, name: str) -> str | None:
        """One query parameter's first value."""
        if self._query is None:
            text = self.head.line.query
            try:
                self._query = parse_qs(text, keep_blank_values=True, max_num_fields=100)
            except ValueError:
                raise BadRequestError("The address has more than 100 query parameters.") from None
        values = self._query.get(name)
        return values[0] if values else None

    async def body(self, max_mb: int) -> bytes:
        """The whole body, at most `max_mb` million bytes. Does not suspend when it is all there.

        Raises PayloadTooLargeError (the bound holds while reading, with or without Content-Length),
        BadRequestError for a compressed body or one that does not arrive in time, ClientGoneError.
        """
        body = self.body_now(max_mb)
        if body is None:
            assert self.intake is not None
            body = await self._take_in(self.intake, max_mb)
        return body

    def body_now(self, max_mb: int) -> bytes | None:
        """The whole body when it is all there; None: await `body`, whose errors are raised here too."""
        encoding = self.head.headers.get("content-encoding")
        if encoding and encoding.lower() != "identity":
            raise BadRequestError(
                f"The body is compressed ({encoding[:40]}), which is not read here.",
                hint="Send it without Content-Encoding.",
                status=415,
            )
        if self.intake is not None:
            return None
        if len(self._body) > max_mb * _BYTES_PER_MB:
            raise _too_large(max_mb, len(self._body))
        return self._body

    @property
    def expects_continue(self) -> bool:
        """The client holds its body back until it is asked for (`Expect: 100-continue`)."""
        expected = self.head.headers.get("expect", "")
        return expected.lower() == "100-continue" and self.head.line.minor == 1

    def invite(self) -> None:
        """Tell the client and the connection that the body is wanted now."""
        raise NotImplementedError

    async def _take_in(self, intake: Intake, max_mb: int) -> bytes:
        if self.is_gone:
            raise ClientGoneError
        limit = max_mb * _BYTES_PER_MB
        if intake.length is not None and intake.length > limit:
            if not self.expects_continue:
                self.invite()
                await intake.dropped(limit * DISCARDED_LIMITS)
            raise _too_large(max_mb, intake.length)
        self.invite()
        try:
            self._body = await intake.read(limit)
        except TooLongError as error:
            self.invite()  # nobody wanted more for a moment, so reading may have stopped
            await intake.dropped(limit * DISCARDED_LIMITS)
            raise _too_large(max_mb, error.size) from None
        except TooSlowError:
            raise BadRequestError(
                "The body did not arrive in time, or came in too slowly to do so.", status=408
            ) from None
        self.intake = None
        return self._body


def _too_large(max_mb: int, size: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The body is larger than {max_mb} MB (at least {size / _BYTES_PER_MB:.1f} MB).",
        hint="Send less, or raise server.max_body_mb in the settings.",
    )
