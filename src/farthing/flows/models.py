"""How a flow calls models: one request of a vendor's dialect through the gateway's door, whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from farthing.core.calls import Caller, Request
from farthing.core.chat import Failed, TextDelta
from farthing.core.errors import UpstreamProtocolError
from farthing.gateway.client import Gateway
from farthing.wire.dialects import codec

_DIALECTS = {"chat": "openai-chat", "completion": "openai-completions"}
_FACE = "flows"


class Spent(msgspec.Struct):
    """What the calls of a node, or of a line, have cost. nanodollars: as booked."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nanodollars: int = 0

    def add(self, other: Spent) -> None:
        """Count another's in."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.nanodollars += other.nanodollars


class Models:
    """The models that a flow's nodes call, all through one gateway and on one caller's account."""

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        *,
        tags: tuple[str, ...] = (),
        traceparent: str | None = None,
    ) -> None:
        """traceparent: the W3C trace that the calls belong to."""
        self._gateway = gateway
        self._caller = caller
        self._tags = tags
        self._traceparent = traceparent

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """The whole answer, as the vendor's dialect has it. Raises the FarthingError tree."""
        async with self._gateway.open(self._request(api, body), self._caller) as call:
            wire = b"".join([event.wire async for event in call])
            _count(call.record, spent)
        try:
            answer = msgspec.json.decode(wire)
        except msgspec.DecodeError:
            raise UpstreamProtocolError("The model's answer is not JSON.") from None
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise UpstreamProtocolError("The model's answer has no choices.")
        return answer

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """The text of the answer, piece by piece. Close it when leaving it early."""
        dialect = _DIALECTS[api]
        reader = codec(dialect).reader(want_deltas=True)
        async with self._gateway.open(self._request(api, body), self._caller) as call:
            async for event in call:
                for delta in event.deltas or ():
                    if isinstance(delta, Failed):
                        raise delta.error
                for read in reader.feed(event.wire):
                    for delta in read.deltas or ():
                        if isinstance(delta, TextDelta):
                            yield delta.text
        _count(call.record, spent)

    def _request(self, api: str, body: dict[str, Any]) -> Request:
        dialect = _DIALECTS[api]
        wire = msgspec.json.encode(body)
        head = codec(dialect).head(wire)
        return Request(
            dialect=dialect,
            body=wire,
            head=head,
            face=_FACE,
            tags=self._tags,
            traceparent=self._traceparent,
        )


def _count(record: Any, spent: Spent) -> None:
    spent.calls += 1
    for attempt in record.attempts:
        spent.input_tokens += attempt.usage.input_tokens
        spent.output_tokens += attempt.usage.output_tokens
        spent.nanodollars += attempt.nanodollars
