"""Reading and writing the vendors' JSON and event frames."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from farthing.sim.asks import RefusedError

T = TypeVar("T")
Json = dict[str, object]

_ENCODER = msgspec.json.Encoder()


def decode(body: bytes, shape: type[T]) -> T:
    """The body in the given shape. Raises RefusedError (400) naming the place, never the content."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        message = str(error)
        _, _, path = message.partition("`$")
        where = path.rstrip("`").lstrip(".") or None
        raise RefusedError(
            400, "invalid_type", f"Invalid request: {message}.", param=where
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedError(
            400, "invalid_json", "We could not parse the JSON body of your request."
        ) from None


def encode(value: Json) -> bytes:
    """Compact JSON."""
    return _ENCODER.encode(value)


def sse(value: Json, event: str | None = None) -> bytes:
    """One server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + _ENCODER.encode(value) + b"\n\n"
