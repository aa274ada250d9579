"""Reads streams of the Messages API: events to deltas, usage and the end mark."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Event, EventKind, Tally
from farthing.core.chat import (
    Delta,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import UpstreamProtocolError, UpstreamTruncatedError
from farthing.wire.dialects.anthropic_errors import ErrorBody, error_of
from farthing.wire.dialects.anthropic_words import (
    NAME,
    WireUsage,
    finish_of,
)
from farthing.wire.mould import Mould
from farthing.wire.sse import SseSplitter


class _Message(msgspec.Struct):
    id: str
    model: str = ""
    usage: WireUsage | None = None


class _Block(msgspec.Struct):
    type: str
    id: str | None = None
    name: str | None = None
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Piece(msgspec.Struct):
    """The `delta` of content_block_delta and of message_delta."""

    type: str | None = None
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Data(msgspec.Struct):
    """The data of any event; the fields that its type does not have stay empty."""

    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Piece | None = None
    usage: WireUsage | None = None


_DATA = msgspec.json.Decoder(_Data)
_ERROR = msgspec.json.Decoder(ErrorBody)


class Reader:
    """Reads one stream. Complete only at `message_stop`."""

    def __init__(self, *, want_deltas: bool) -> None:
        self._wants = want_deltas
        self._splitter = SseSplitter()
        self._is_over = False
        self._model: str | None = None
        self._usage: WireUsage | None = None
        self._finish: str | None = None
        self._characters = 0
        # Content index → number of the block among those of its kind.
        self._numbers: dict[int, int] = {}
        self._counts = {"text": 0, "reasoning": 0, "tool": 0}
        self._mould = Mould(b'"text":"')

    def skim(self, piece: bytes, position: int = 0) -> int:
        """Where the whole events of plain text at `position` end; they are counted, not read."""
        if self._is_over or self._splitter.rest:
            return position
        return self._mould.skim(piece, position)

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by this chunk. Raises UpstreamProtocolError."""
        return [self._event(frame.wire, frame.data) for frame in self._splitter.feed(chunk)]

    def eof(self) -> list[Event]:
        """Nothing more comes. Raises UpstreamTruncatedError before `message_stop`."""
        if not self._is_over:
            raise UpstreamTruncatedError("The provider's stream stopped before its end.")
        return []

    @property
    def tally(self) -> Tally:
        """What is known so far."""
        return Tally(
            usage=self._usage.to_core() if self._usage else None,
            finish_reasons=(self._finish,) if self._finish else (),
            model=self._model,
            service_tier=self._usage.service_tier if self._usage else None,
            is_complete=self._is_over,
            output_characters=self._characters + self._mould.characters,
        )

    def _event(self, wire: bytes, data: bytes | None) -> Event:
        if data is None:
            return self._made(wire, EventKind.META)
        try:
            event = _DATA.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UpstreamProtocolError(
                f"The provider sent a stream event that is no {NAME}."
            ) from None
        match event.type:
            case "content_block_delta":
                return self._on_delta(wire, event)
            case "content_block_start":
                return self._on_block(wire, event)
            case "message_start":
                return self._on_start(wire, event)
            case "message_delta":
                return self._on_finish(wire, event)
            case "message_stop":
                self._is_over = True
                return self._made(wire, EventKind.END)
            case "error":
                # Always told, since whoever forwards the bytes must know what happened.
                failed = Failed(error=error_of(_ERROR.decode(data)))
                return Event(wire=wire, kind=EventKind.ERROR, deltas=(failed,))
        return self._made(wire, EventKind.META)

    def _on_start(self, wire: bytes, event: _Data) -> Event:
        message = event.message
        if message is None:
            raise UpstreamProtocolError("The provider's message_start has no message.")
        self._model = message.model or None
        self._usage = message.usage
        started = Started(
            id=message.id,
            model=message.model,
            usage=message.usage.to_core() if message.usage else None,
            service_tier=message.usage.service_tier if message.usage else None,
        )
        return self._made(wire, EventKind.META, started)

    def _on_block(self, wire: bytes, event: _Data) -> Event:
        block = event.content_block
        if block is None:
            raise UpstreamProtocolError("The provider's content_block_start has no block.")
        match block.type:
            case "text":
                number = self._number(event.index, "text")
                if not block.text:
                    return self._made(wire, EventKind.META)
                self._characters += len(block.text)
                return self._made(wire, EventKind.CONTENT, TextDelta(text=block.text, part=number))
            case "thinking" | "redacted_thinking":
                number = self._number(event.index, "reasoning")
                self._characters += len(block.thinking)
                delta = ReasoningDelta(
                    text=block.thinking,
                    part=number,
                    signature=block.signature or None,
                    encrypted=block.data,
                )
                if not (delta.text or delta.signature or delta.encrypted):
                    return self._made(wire, EventKind.META)
                return self._made(wire, EventKind.CONTENT, delta)
            case "tool_use":
                number = self._number(event.index, "tool")
                arguments = bytes(block.input).decode()
                arguments = "" if arguments.replace(" ", "") == "{}" else arguments
                call = ToolCallDelta(
                    index=number, id=block.id, name=block.name, arguments=arguments
                )
                return self._made(wire, EventKind.CONTENT, call)
        # The vendor's own tools and their results: content, but nothing that core has words for.
        return self._made(wire, EventKind.CONTENT)

    def _on_delta(self, wire: bytes, event: _Data) -> Event:
        piece = event.delta
        if piece is None:
            raise UpstreamProtocolError("The provider's content_block_delta has no delta.")
        self._characters += len(piece.text) + len(piece.thinking) + len(piece.partial_json)
        if not self._wants:
            if piece.type == "text_delta":
                self._mould.learn(wire, piece.text)
            return Event(wire=wire, kind=EventKind.CONTENT)
        number = self._numbers.get(event.index)
        if number is None:
            return self._made(wire, EventKind.CONTENT)
        match piece.type:
            case "text_delta":
                return self._made(wire, EventKind.CONTENT, TextDelta(text=piece.text, part=number))
            case "input_json_delta":
                call = ToolCallDelta(index=number, arguments=piece.partial_json)
                return self._made(wire, EventKind.CONTENT, call)
            case "thinking_delta":
                return self._made(
                    wire, EventKind.CONTENT, ReasoningDelta(text=piece.thinking, part=number)
                )
            case "signature_delta":
                seal = ReasoningDelta(signature=piece.signature, part=number)
                return self._made(wire, EventKind.CONTENT, seal)
        return self._made(wire, EventKind.CONTENT)

    def _on_finish(self, wire: bytes, event: _Data) -> Event:
        deltas: list[Delta] = []
        if event.delta is not None and event.delta.stop_reason is not None:
            finish = finish_of(event.delta.stop_reason) or "other"
            self._finish = finish
            deltas.append(
                Finished(
                    finish_reason=finish,
                    raw_finish=event.delta.stop_reason,
                    stop_sequence=event.delta.stop_sequence,
                )
            )
        if event.usage is not None:
            self._usage = event.usage.over(self._usage)
            usage = UsageDelta(usage=self._usage.to_core(), service_tier=self._usage.service_tier)
            deltas.append(usage)
        kind = EventKind.FINISH if self._finish is not None else EventKind.USAGE
        return self._made(wire, kind, *deltas)

    def _number(self, index: int, kind: str) -> int:
        number = self._counts[kind]
        self._counts[kind] = number + 1
        self._numbers[index] = number
        return number

    def _made(self, wire: bytes, kind: EventKind, *deltas: Delta) -> Event:
        return Event(wire=wire, kind=kind, deltas=deltas if self._wants else None)
