"""Asks a service that is no model: one exchange in the line's loop, errors that quote neither key nor text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from farthing.core.errors import (
    ConfigError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
)
from farthing.core.models import Timeouts
from farthing.flows.connections.types import Connection
from farthing.flows.engine import ambient
from farthing.flows.tools.errors import InvalidConnectionType, ToolError, ToolValidationError
from farthing.providers.connection import MAX_ERROR_BYTES, Upstream
from farthing.wire.retry_after import retry_after_s
from farthing.wire.upstream.tls import ClientContext

#: The original waits for ever; a line would then hang until its own time-out. A search takes seconds.
_TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=120.0, between_bytes_s=60.0, total_s=300.0)
#: Largest answer that is read, bytes. A page of search results has below 1 MB.
MAX_ANSWER = 32 * 1024 * 1024
#: Statuses that the same request may not meet again.
_PASSING = frozenset({408, 429})


class Answer(msgspec.Struct, frozen=True):
    """What a service said. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Problem(msgspec.Struct):
    code: str | None = None


class _Refusal(msgspec.Struct):
    """What Azure's services say; others say a sentence, which may quote what was sent."""

    error: _Problem | str | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service by name. refused, broken: the errors for its 4xx, and for all else that is no answer.

    refusal: what to look at when it refuses a request.
    waits_s: how long to wait before each further try, seconds; what may pass is tried so often again.
    key: the field of a connection with the service's key.
    """

    name: str
    refused: type[ToolError]
    broken: type[ToolError]
    refusal: str
    waits_s: tuple[float, ...] = ()
    key: str = "api_key"

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes = b"",
        connection: str | None = None,
    ) -> Any:
        """The JSON of a 200. connection: whose key was sent, for a message.

        Blocks; call it from a thread, not from the gateway's loop. Raises what `refused` and `broken` are.
        """
        here = ambient.current()

        async def tries() -> Any:
            for wait in (*self.waits_s, None):
                try:
                    return self._read(await self._once(method, url, headers, body), connection)
                except ToolError as error:
                    # What was not answered is not asked again, as in the original: an address may be wrong.
                    if wait is None or not error.retryable or error.upstream_status is None:
                        raise
                    await here.clock.sleep(max(wait, error.retry_after_s or 0.0))
            raise AssertionError("the last try returns or raises")

        return here.wait(tries())

    async def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        # A connection for each request, as in the original: nobody would close a pool behind the last line.
        # The TLS session is taken up again, so that only the first handshake is a whole one.
        upstream = Upstream(self.name, max_connections=1, environ=os.environ, tls=_trust)
        try:
            async with upstream.exchange(
                url, method=method, headers=headers, body=body, timeouts=_TIMEOUTS
            ) as exchange:
                if exchange.status == 200:
                    whole = await exchange.body(MAX_ANSWER)
                else:
                    whole = await exchange.beginning(MAX_ERROR_BYTES)
                return Answer(exchange.status, exchange.headers, whole)
        except UpstreamError as error:
            raise self._unreached(error, url) from error
        except ConfigError:
            raise self._unusable(url) from None
        finally:
            await upstream.aclose()

    def _read(self, answer: Answer, connection: str | None) -> Any:
        if answer.status != 200:
            raise self._failure(answer, connection)
        try:
            return msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            raise self.malformed("it is no JSON") from None

    def malformed(self, what: str) -> ToolError:
        """The error for an answer that cannot be read. what: as in `it has no 'output'`."""
        return self.broken(
            f"{self.name} gave an answer that cannot be read: {what}.",
            hint="Does the connection lead to this service, in a version that it serves?",
        )

    def _failure(self, answer: Answer, connection: str | None) -> ToolError:
        status, code = answer.status, _code(answer.body)
        said = f"{status} {code}" if code else str(status)
        whose = f" of the connection '{connection}'" if connection else ""
        kind = self.refused if 400 <= status < 500 else self.broken
        if status in (401, 403):
            error = kind(
                f"{self.name} rejected the key{whose} ({said}).",
                hint=_set(connection, self.key),
            )
        elif status == 429:
            error = kind(
                f"The limit{whose} at {self.name} is reached ({said}).",
                hint="Wait, run fewer lines at a time, or raise the limit there.",
            )
        elif 400 <= status < 500:
            error = kind(f"{self.name} refused the request ({said}).", hint=self.refusal)
        elif status >= 500:
            error = kind(f"{self.name} failed ({said}).", hint="Try again later.")
        else:
            error = kind(
                f"{self.name} answered with {said}, and redirects are not followed.",
                hint="Look at the address in the connection.",
            )
        error.upstream_status = status
        error.retryable = status in _PASSING or status >= 500
        error.retry_after_s = retry_after_s(answer.headers)
        return error

    def _unreached(self, error: UpstreamError, url: str) -> ToolError:
        what = "could not be reached"
        if isinstance(error, UpstreamTimeoutError):
            what = "was silent for too long"
        elif isinstance(error, UpstreamTruncatedError):
            what = "broke off its answer"
        elif isinstance(error, UpstreamProtocolError):
            what = "gave an answer that is not HTTP, or too long"
        told = self.broken(
            f"{self.name} ({urlsplit(url).netloc}) {what}.",
            hint="Look at the address in the connection and at this machine's network.",
        )
        told.retryable = True
        return told

    def _unusable(self, url: str) -> ToolError:
        return self.refused(
            f"{self.name} has no usable address: '{url.partition('?')[0][:100]}'.",
            hint="It begins with https:// in the connection.",
        )


def key_of(connection: Connection, kind: type[Connection], service: str) -> str:
    """The connection's key. Raises InvalidConnectionType for another type, ToolValidationError without a key."""
    if not isinstance(connection, kind):
        raise InvalidConnectionType(
            f"{service} is asked with a {kind.__name__}, and was given a {type(connection).__name__}.",
            hint=f"Name a connection of the type {kind.YAML}.",
        )
    key = connection.secrets.get("api_key")
    if not key:
        raise ToolValidationError(
            f"The connection '{connection.name or kind.__name__}' has no api_key, and {service} wants one.",
            hint=_set(connection.name, "api_key"),
        )
    return str(key)


def _set(connection: str | None, field: str) -> str:
    return f"Set it: farthing pf connection update --name {connection or 'NAME'} --set {field}=…"


def _code(body: bytes) -> str | None:
    """The service's word for an error, when it is a word."""
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        return None
    code = error.code if isinstance(error, _Problem) else None
    is_word = code is not None and code.isascii() and code.replace("_", "").isalnum()
    return code if is_word and code is not None and len(code) <= 64 else None


@cache
def _trust() -> ClientContext:
    """The machine's trust, loaded once; it remembers each server's last session."""
    return ClientContext()
