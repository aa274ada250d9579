"""Streams of the Messages API: events to deltas, and deltas to events in the order its clients require."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Event, EventKind, Head, Tally
from farthing.core.chat import (
    Delta,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import FarthingError, UpstreamProtocolError, UpstreamTruncatedError
from farthing.core.usage import Usage
from farthing.wire.dialects._seals import is_sealed
from farthing.wire.dialects.anthropic_content import Json
from farthing.wire.dialects.anthropic_errors import ErrorBody, encode_error, error_of
from farthing.wire.dialects.anthropic_words import (
    NAME,
    WireUsage,
    finish_of,
    stop_reason_of,
    usage_json,
)
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
            output_characters=self._characters,
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


class Writer:
    """Writes one stream: message_start, blocks one after the other, message_delta, message_stop.

    Only choice 0 can be said here. Usage is shown in message_start as far as it is known by then and in
    full in message_delta; its counts are cumulative.
    """

    def __init__(self, head: Head, *, call_id: str) -> None:
        self._id = call_id
        self._model = head.model
        self._is_started = False
        self._next = 0
        self._open: tuple[str, int] | None = None
        self._places: dict[tuple[str, int], int] = {}
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._tier: str | None = None

    def write(self, delta: Delta) -> bytes:
        """The events for one delta. Finish and usage wait for `end`."""
        match delta:
            case Started():
                return self._start(delta)
            case Finished():
                if delta.choice == 0:
                    self._finished = delta
                return b""
            case UsageDelta():
                self._usage = delta.usage
                self._tier = delta.service_tier or self._tier
                return b""
            case Failed():
                return self.error(delta.error)
        if delta.choice != 0:
            return b""
        return self._start(None) + self._content(delta)

    def error(self, error: FarthingError) -> bytes:
        """An `error` event. No message_stop follows, so no client takes the answer for whole."""
        return b"event: error\ndata: " + encode_error(error) + b"\n\n"

    def end(self) -> bytes:
        """Close the open block; then stop reason, usage and message_stop."""
        finished = self._finished
        reason = sequence = None
        if finished is not None:
            sequence = finished.stop_sequence
            reason = stop_reason_of(finished.finish_reason, finished.raw_finish, sequence)
        tail: Json = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage_json(self._usage),
        }
        stop = _frame("message_stop", {"type": "message_stop"})
        return self._start(None) + self._close() + _frame("message_delta", tail) + stop

    def _start(self, started: Started | None) -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        if started is not None:
            self._id, self._model = started.id or self._id, started.model or self._model
            self._usage, self._tier = started.usage, started.service_tier
        usage = usage_json(self._usage)
        if self._tier in ("standard", "priority", "batch"):
            usage["service_tier"] = self._tier
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _frame("message_start", {"type": "message_start", "message": message})

    def _content(self, delta: TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta) -> bytes:
        match delta:
            case TextDelta():
                opened = self._enter("text", delta.part, {"type": "text", "text": ""})
                return opened + self._piece({"type": "text_delta", "text": delta.text})
            case RefusalDelta():
                opened = self._enter("refusal", 0, {"type": "text", "text": ""})
                return opened + self._piece({"type": "text_delta", "text": delta.text})
            case ReasoningDelta():
                return self._thinking(delta)
            case ToolCallDelta():
                return self._tool_call(delta)

    def _thinking(self, delta: ReasoningDelta) -> bytes:
        seal = delta.signature
        if delta.encrypted is not None:
            if is_sealed(delta.encrypted):
                seal = delta.encrypted
            elif delta.id is None:
                sealed: Json = {"type": "redacted_thinking", "data": delta.encrypted}
                return self._enter("redacted", delta.part, sealed) + self._close()
        if not delta.text and seal is None:
            return b""
        out = self._enter(
            "reasoning", delta.part, {"type": "thinking", "thinking": "", "signature": ""}
        )
        if delta.text:
            out += self._piece({"type": "thinking_delta", "thinking": delta.text})
        if seal is not None:
            out += self._piece({"type": "signature_delta", "signature": seal})
        return out

    def _tool_call(self, delta: ToolCallDelta) -> bytes:
        key = ("tool", delta.index)
        place = self._places.get(key)
        if place is not None and self._open != key:
            # Late arguments for a call whose block is closed: its index still says where they belong.
            return _delta_frame(
                place, {"type": "input_json_delta", "partial_json": delta.arguments}
            )
        block: Json = {
            "type": "tool_use",
            "id": delta.id or f"toolu_{self._id}_{delta.index}",
            "name": delta.name or "",
            "input": {},
        }
        out = self._enter("tool", delta.index, block)
        if delta.arguments:
            out += self._piece({"type": "input_json_delta", "partial_json": delta.arguments})
        return out

    def _enter(self, kind: str, number: int, block: Json) -> bytes:
        key = (kind, number)
        if self._open == key:
            return b""
        out = self._close()
        self._open = key
        self._places[key] = self._next
        start = {"type": "content_block_start", "index": self._next, "content_block": block}
        self._next += 1
        return out + _frame("content_block_start", start)

    def _piece(self, delta: Json) -> bytes:
        return _delta_frame(self._next - 1, delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        stop = {"type": "content_block_stop", "index": self._next - 1}
        return _frame("content_block_stop", stop)


def _delta_frame(index: int, delta: Json) -> bytes:
    data = {"type": "content_block_delta", "index": index, "delta": delta}
    return _frame("content_block_delta", data)


def _frame(event: str, data: Json) -> bytes:
    body = msgspec.json.encode(data)
    return b"event: " + event.encode() + b"\ndata: " + body + b"\n\n"
