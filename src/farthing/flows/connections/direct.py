"""Model calls of a flow's own Python code: straight to where its connection leads, from the node's thread.

LLM nodes go through the gateway; code that calls prompt flow's tools with a connection in its hand asks for
that connection's endpoint, and gets it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from farthing.core.errors import (
    FarthingError,
    FlowError,
    UpstreamAuthError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamUnreachableError,
)
from farthing.flows.connections.types import (
    AzureOpenAIConnection,
    Connection,
    OpenAIConnection,
    ServerlessConnection,
)

#: How long the endpoint may be silent, seconds.
TIMEOUT_S = 600.0
#: Calls that are made before a busy or broken endpoint is given up, and the longest wait between two.
TRIES = 6
LONGEST_WAIT_S = 60.0
_OPENAI = "https://api.openai.com/v1"


class _Place(NamedTuple):
    url: str
    headers: dict[str, str]


def ask(connection: Connection, path: str, body: dict[str, Any]) -> Any:
    """The endpoint's JSON. path: as in `chat/completions`. Raises the Upstream errors, FlowError."""
    with _Answer(connection, path, body) as response:
        try:
            return msgspec.json.decode(response.read())
        except (msgspec.DecodeError, HTTPException, OSError):
            raise UpstreamProtocolError("The endpoint's answer is not JSON.") from None


def stream(connection: Connection, path: str, body: dict[str, Any]) -> Iterator[Any]:
    """Each event of the endpoint's stream, as JSON. Raises as `ask` does, when it is read."""
    with _Answer(connection, path, body) as response:
        for line in response:
            data = line.strip().removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield msgspec.json.decode(data)


class _Answer:
    """An answer with a good status; the socket is closed when the block is left."""

    def __init__(self, connection: Connection, path: str, body: dict[str, Any]) -> None:
        self._place = _place(connection, path, str(body.get("model") or ""))
        self._body = msgspec.json.encode(body)
        self._socket: HTTPConnection | None = None
        self._response: HTTPResponse | None = None

    def __enter__(self) -> HTTPResponse:
        for attempt in range(TRIES):
            try:
                response = self._send()
                if response.status == 200:
                    return response
                error: FarthingError = _error(response)
            except (OSError, HTTPException) as caught:
                error = UpstreamUnreachableError(
                    f"The connection's endpoint cannot be reached ({type(caught).__name__}).",
                    hint="Look at the connection's address.",
                )
            self.__exit__()
            if not error.retryable or attempt == TRIES - 1:
                raise error
            wait_s = error.retry_after_s if error.retry_after_s is not None else 2.0 + 2.0**attempt
            threading.Event().wait(min(wait_s, LONGEST_WAIT_S))
        raise AssertionError("The last attempt raises.")

    def __exit__(self, *_: object) -> None:
        # A response outlives its connection when the server closes; both have to be let go of.
        for each in (self._response, self._socket):
            if each is not None:
                each.close()

    def _send(self) -> HTTPResponse:
        parts = urlsplit(self._place.url)
        kinds = {"https": HTTPSConnection, "http": HTTPConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise FlowError(
                "The connection's address is no URL.", hint="Begin it with https:// and the host."
            )
        self._socket = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._socket.request("POST", target, self._body, self._place.headers)
        self._response = self._socket.getresponse()
        return self._response


def _place(connection: Connection, path: str, model: str) -> _Place:
    headers = {"Content-Type": "application/json"}
    if isinstance(connection, AzureOpenAIConnection):
        headers["api-key"] = str(connection.api_key or connection.get_token())
        base = str(connection.api_base).rstrip("/")
        version = quote(str(connection.api_version))
        return _Place(
            f"{base}/openai/deployments/{quote(model, safe='')}/{path}?api-version={version}",
            headers,
        )
    if isinstance(connection, OpenAIConnection):
        base = str(connection.base_url or _OPENAI).rstrip("/")
        if connection.organization:
            headers["OpenAI-Organization"] = str(connection.organization)
    elif isinstance(connection, ServerlessConnection):
        base = str(connection.api_base).rstrip("/")
        base = base if base.endswith("/v1") else f"{base}/v1"
    else:
        raise FlowError(
            f"A {type(connection).__name__} leads to no model.",
            hint="Use a connection of the type azure_open_ai, open_ai or serverless.",
        )
    headers["Authorization"] = f"Bearer {connection.api_key}"
    return _Place(f"{base}/{path}", headers)


def _error(response: HTTPResponse) -> FarthingError:
    """What a status means. The body is not read into it: it may quote the prompt."""
    status = response.status
    said: dict[str, Any] = {
        "upstream_status": status,
        "retry_after_s": _seconds(response.getheader("Retry-After")),
    }
    if status == 429:
        return UpstreamRateLimitedError("The connection's endpoint has no quota left.", **said)
    if status in (401, 403):
        return UpstreamAuthError(
            "The connection's endpoint refuses its key.", hint="Create the connection anew.", **said
        )
    if status >= 500:
        return UpstreamServerError(f"The connection's endpoint failed with {status}.", **said)
    return UpstreamRejectedError(
        f"The connection's endpoint refuses the request with {status}.",
        hint="Look at the model's or deployment's name and at the parameters.",
        **said,
    )


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:  # a date; then our own waits will do
        return None
