"""Streams of chat completions: chunks to deltas, and deltas to chunks."""

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
from farthing.wire.dialects.openai_chat_spoken import ContentPiece, ToolCallPlaces, spoken
from farthing.wire.dialects.openai_errors import ErrorFields, error_json, error_of
from farthing.wire.dialects.openai_words import WireUsage, finish_of, usage_json, word_of
from farthing.wire.mould import Mould
from farthing.wire.sse import SseSplitter

DONE = b"data: [DONE]\n\n"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Audio(msgspec.Struct):
    transcript: str | None = None


class _Delta(msgspec.Struct):
    """reasoning_content and reasoning: how DeepSeek, vLLM, Groq and OpenRouter stream thinking.

    Mistral's reasoning models send content as an array, with thinking among it.
    """

    content: str | list[ContentPiece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    audio: _Audio | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw | None = None


class _Groq(msgspec.Struct):
    usage: WireUsage | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    error: ErrorFields | str | None = None
    x_groq: _Groq | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class Reader:
    """Reads one stream of chat or legacy completions.

    Complete at `[DONE]`, or, for vendors that leave it out, when every choice that spoke has a finish
    reason. What comes after `[DONE]` counts for nothing.
    """

    def __init__(self, *, want_deltas: bool) -> None:
        self._wants = want_deltas
        self._splitter = SseSplitter()
        self._is_done = False
        self._has_started = False
        self._model: str | None = None
        self._tier: str | None = None
        self._usage: Usage | None = None
        self._spoken: set[int] = set()
        self._finished: dict[int, str] = {}
        self._calls: dict[int, ToolCallPlaces] = {}
        self._characters = 0
        self._mould = Mould(b'"content":"')
        self._moulded = 0  # the choice that the learnt event speaks for

    def skim(self, piece: bytes, position: int = 0) -> int:
        """Where the whole events of plain text at `position` end; they are counted, not read."""
        if self._is_done or self._splitter.rest:
            return position
        return self._mould.skim(piece, position)

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by this chunk. Raises UpstreamProtocolError."""
        if self._wants and not self._is_done and not self._splitter.rest:
            text = self._mould.text(chunk)
            if text is not None:
                delta = TextDelta(text=text, choice=self._moulded)
                return [Event(wire=chunk, kind=EventKind.CONTENT, deltas=(delta,))]
        frames = self._splitter.feed(chunk)
        return [
            event for frame in frames if (event := self._event(frame.wire, frame.data)) is not None
        ]

    def eof(self) -> list[Event]:
        """Nothing more comes. Raises UpstreamTruncatedError for an incomplete answer.

        Some vendors leave out the last blank line; the event of the end mark has it.
        """
        rest = self._splitter.pending
        if self._is_complete and (self._is_done or not rest.strip()):
            return []
        if self._is_complete and rest.strip() == DONE.strip():
            self._is_done = True
            return [self._made(rest.rstrip() + b"\n\n", EventKind.END, [])]
        raise UpstreamTruncatedError("The provider's stream stopped before its end.")

    @property
    def tally(self) -> Tally:
        """What is known so far."""
        return Tally(
            usage=self._usage,
            finish_reasons=tuple(self._finished.values()),
            model=self._model,
            service_tier=self._tier,
            is_complete=self._is_complete,
            output_characters=self._characters + self._mould.characters,
        )

    @property
    def _is_complete(self) -> bool:
        return bool(self._finished) and self._spoken <= self._finished.keys()

    def _event(self, wire: bytes, data: bytes | None) -> Event | None:
        if self._is_done:
            return None  # a second end mark, or what a vendor sends after it
        if data is None:
            return self._made(wire, EventKind.META, [])
        if data.strip() == b"[DONE]":
            if not self._is_complete:
                raise UpstreamTruncatedError(
                    "The provider ended its stream without a finish reason."
                )
            self._is_done = True
            return self._made(wire, EventKind.END, [])
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamProtocolError(
                "The provider sent a stream event that is no chat completion chunk."
            ) from None
        if chunk.error is not None:
            told = chunk.error if isinstance(chunk.error, ErrorFields) else ErrorFields()
            return Event(wire=wire, kind=EventKind.ERROR, deltas=(Failed(error=error_of(told)),))
        return self._read(wire, chunk)

    def _read(self, wire: bytes, chunk: _Chunk) -> Event:
        deltas: list[Delta] = []
        self._model = chunk.model or self._model
        self._tier = chunk.service_tier or self._tier
        if not self._has_started and chunk.choices:
            self._has_started = True
            deltas.append(
                Started(
                    id=chunk.id or "",
                    model=chunk.model or "",
                    created=None if chunk.created is None else int(chunk.created),
                    service_tier=chunk.service_tier,
                )
            )
        kind = EventKind.META
        for choice in chunk.choices or ():
            kind = max(kind, self._read_choice(choice, deltas))
        reported = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None)
        if reported is not None:
            self._usage = reported.to_core()
            deltas.append(UsageDelta(usage=self._usage, service_tier=self._tier))
            if not chunk.choices:
                kind = EventKind.USAGE
        elif kind is EventKind.CONTENT:
            said = [delta for delta in deltas if not isinstance(delta, Started)]
            if len(said) == 1 and isinstance(said[0], TextDelta) and said[0].logprobs is None:
                self._mould.learn(wire, said[0].text)
                self._moulded = said[0].choice
        return self._made(wire, kind, deltas)

    def _read_choice(self, choice: _Choice, deltas: list[Delta]) -> EventKind:
        number = choice.index or 0
        before = len(deltas)
        self._spoken.add(number)
        delta = choice.delta or _Delta()
        said, mused = spoken(delta.content)
        text = said or choice.text or (delta.audio.transcript if delta.audio else None)
        thought = mused or delta.reasoning_content or delta.reasoning
        if thought:
            deltas.append(ReasoningDelta(text=thought, choice=number))
        if text:
            deltas.append(TextDelta(text=text, choice=number, logprobs=_kept(choice.logprobs)))
        if delta.refusal:
            deltas.append(RefusalDelta(text=delta.refusal, choice=number))
        calls = list(delta.tool_calls or ())
        if delta.function_call is not None:
            calls.append(_ToolCall(index=0, function=delta.function_call))
        for call in calls:
            function = call.function or _Function()
            if number not in self._calls:
                self._calls[number] = ToolCallPlaces()
            place = self._calls[number].of(call.index, call.id, has_name=bool(function.name))
            deltas.append(
                ToolCallDelta(
                    index=place,
                    choice=number,
                    id=call.id,
                    name=function.name,
                    arguments=function.arguments or "",
                )
            )
            self._characters += len(function.arguments or "") + len(function.name or "")
        self._characters += sum(map(len, (text or "", thought or "", delta.refusal or "")))
        kind = EventKind.CONTENT if len(deltas) > before else EventKind.META
        if choice.finish_reason:
            finish = finish_of(choice.finish_reason)
            self._finished[number] = finish
            deltas.append(
                Finished(finish_reason=finish, choice=number, raw_finish=choice.finish_reason)
            )
            kind = EventKind.FINISH
        return kind

    def _made(self, wire: bytes, kind: EventKind, deltas: list[Delta]) -> Event:
        return Event(wire=wire, kind=kind, deltas=tuple(deltas) if self._wants else None)


class Writer:
    """Writes one stream for a client.

    The first chunk of a choice states the role. An error is a frame of its own without finish reason and
    without `[DONE]`, so that no client takes the answer for complete.
    """

    def __init__(self, head: Head, *, call_id: str, created: int) -> None:
        self._shows_usage = head.include_usage
        self._id = call_id
        self._model = head.model
        self._created = created
        self._tier: str | None = None
        self._usage: Usage | None = None
        self._opened: set[int] = set()

    def write(self, delta: Delta) -> bytes:
        """The frames for one delta."""
        match delta:
            case Started():
                self._id = delta.id or self._id
                self._model = delta.model or self._model
                self._created = delta.created or self._created
                self._tier = delta.service_tier
                self._usage = delta.usage or self._usage
                return b""
            case TextDelta():
                return self._chunk(delta.choice, {"content": delta.text}, logprobs=delta.logprobs)
            case RefusalDelta():
                return self._chunk(delta.choice, {"refusal": delta.text})
            case ReasoningDelta():
                if not delta.text:
                    return b""  # a seal: this dialect has no place for it
                return self._chunk(delta.choice, {"reasoning_content": delta.text})
            case ToolCallDelta():
                return self._chunk(delta.choice, {"tool_calls": [_call_json(delta)]})
            case Finished():
                word = word_of(delta.finish_reason, delta.raw_finish)
                return self._chunk(delta.choice, {}, finish=word)
            case UsageDelta():
                self._usage = delta.usage
                self._tier = delta.service_tier or self._tier
                return b""
            case Failed():
                return self.error(delta.error)

    def error(self, error: FarthingError) -> bytes:
        """The frame that says that the answer is incomplete."""
        return _frame({"error": error_json(error)})

    def end(self) -> bytes:
        """Usage where it was asked for, and the end mark."""
        if not self._shows_usage:
            return DONE
        usage = None if self._usage is None else usage_json(self._usage)
        return _frame({**self._common(), "choices": [], "usage": usage}) + DONE

    def _chunk(
        self,
        choice: int,
        delta: dict[str, object],
        *,
        finish: str | None = None,
        logprobs: msgspec.Raw | None = None,
    ) -> bytes:
        opening = b""
        if choice not in self._opened:
            self._opened.add(choice)
            opening = self._chunk(choice, {"role": "assistant", "content": ""})
        shown: dict[str, object] = {"index": choice, "delta": delta, "finish_reason": finish}
        shown["logprobs"] = logprobs
        chunk = {**self._common(), "choices": [shown]}
        if self._shows_usage:
            chunk["usage"] = None
        return opening + _frame(chunk)

    def _common(self) -> dict[str, object]:
        common: dict[str, object] = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }
        if self._tier is not None:
            common["service_tier"] = self._tier
        return common


def _call_json(delta: ToolCallDelta) -> dict[str, object]:
    function: dict[str, object] = {"arguments": delta.arguments}
    call: dict[str, object] = {"index": delta.index, "function": function}
    if delta.name is not None:
        function["name"] = delta.name
    if delta.id is not None:
        call["id"] = delta.id
        call["type"] = "function"
    if delta.signature is not None and is_sealed(delta.signature):
        call["extra_content"] = {"farthing": {"thought_signature": delta.signature}}
    return call


def _kept(raw: msgspec.Raw | None) -> msgspec.Raw | None:
    return None if raw is None or bytes(raw) == b"null" else raw.copy()


def _frame(fields: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"
