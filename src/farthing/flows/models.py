"""How a flow calls models: one request of a vendor's dialect through the gateway's door, whole or as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from farthing.core.calls import Caller, CallRecord, Request
from farthing.core.errors import UpstreamProtocolError
from farthing.wire.dialects import codec

if TYPE_CHECKING:
    from farthing.gateway.client import Gateway

_FACE = "flows"
#: Whether whoever asked for this line takes its answer piece by piece. Of a served flow; else nobody does.
TAKES_PIECES: ContextVar[bool] = ContextVar("farthing_flow_takes_pieces", default=False)


class Api(NamedTuple):
    """One of the vendors' interfaces. path: at a gateway. holds: the field without which an answer is none."""

    dialect: str
    path: str
    holds: str


APIS = {
    "chat": Api("openai-chat", "/v1/chat/completions", "choices"),
    "completion": Api("openai-completions", "/v1/completions", "choices"),
    "embedding": Api("openai-embeddings", "/v1/embeddings", "data"),
}


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

    def since(self, before: Spent) -> Spent:
        """What has come since it was `before`."""
        return Spent(
            calls=self.calls - before.calls,
            input_tokens=self.input_tokens - before.input_tokens,
            output_tokens=self.output_tokens - before.output_tokens,
            nanodollars=self.nanodollars - before.nanodollars,
        )


class Models(ABC):
    """The models that a flow calls, whoever brings the calls to a gateway. api: a key of `APIS`."""

    @abstractmethod
    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """The whole answer, as the vendor's dialect has it. Raises the FarthingError tree."""

    @abstractmethod
    def stream(self, api: str, body: dict[str, Any], spent: Spent) -> AsyncGenerator[str, None]:
        """The text of the answer, piece by piece. Close it when leaving it early."""


class GatewayModels(Models):
    """Models of a gateway in this process, on one caller's account."""

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
        """See `Models.ask`."""
        opened = self._gateway.open(self._request(api, body), self._caller)
        try:
            async with opened as call:
                wire = await call.whole()
        finally:
            _count(opened.record, spent)
        return answer_of(api, wire)

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """See `Models.stream`."""
        from farthing.gateway.texts import texts

        opened = self._gateway.open(self._request(api, body), self._caller)
        try:
            async with (
                opened as call,
                aclosing(texts(call, APIS[api].dialect)) as pieces,
            ):
                async for text in pieces:
                    yield text
        finally:  # what was used counts, also of an answer that was left early
            _count(opened.record, spent)

    def _request(self, api: str, body: dict[str, Any]) -> Request:
        dialect = APIS[api].dialect
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


def answer_of(api: str, wire: bytes) -> dict[str, Any]:
    """The answer that these bytes are. Raises UpstreamProtocolError."""
    try:
        answer = msgspec.json.decode(wire)
    except msgspec.DecodeError:
        raise UpstreamProtocolError("The model's answer is not JSON.") from None
    holds = APIS[api].holds
    if not isinstance(answer, dict) or not answer.get(holds):
        raise UpstreamProtocolError(f"The model's answer has no {holds}.")
    return answer


def _count(record: CallRecord | None, spent: Spent) -> None:
    """Add what a call used, however it ended: also one that was cancelled before its answer began."""
    if record is None:
        return
    if record.outcome == "ok" or any(attempt.was_sent for attempt in record.attempts):
        spent.calls += 1
    for attempt in record.attempts:
        spent.input_tokens += attempt.usage.input_tokens
        spent.output_tokens += attempt.usage.output_tokens
        spent.nanodollars += attempt.nanodollars
