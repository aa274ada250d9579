"""Streams of streamGenerateContent: chunks, each a whole small response, to deltas and back."""

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
from farthing.wire.dialects._seals import seal, unsealed
from farthing.wire.dialects.google_answer import STEM, Grounding, billed_searches
from farthing.wire.dialects.google_content import Json
from farthing.wire.dialects.google_errors import ErrorInfo, error_json, error_of
from farthing.wire.dialects.google_words import (
    NAME,
    SYNTHETIC,
    WireUsage,
    finish_of,
    reason_of,
    usage_json,
)
from farthing.wire.sse import SseSplitter


class _Call(msgspec.Struct):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, rename="camel"):
    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: Grounding | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = []
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: _Feedback | None = None
    error: ErrorInfo | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class _Reading:
    """What was read of one candidate."""

    __slots__ = ("calls", "finish", "kind", "parts")

    def __init__(self) -> None:
        self.calls = 0
        self.finish: str | None = None
        self.kind = ""
        self.parts = {"text": -1, "reasoning": -1}

    def part(self, kind: str) -> int:
        """The number of the block that a piece of this kind belongs to: a new one after another kind."""
        if self.kind != kind:
            self.parts[kind] += 1
            self.kind = kind
        return self.parts[kind]


class Reader:
    """Reads one `alt=sse` stream. There is no end mark: complete once every candidate has finished."""

    def __init__(self, *, want_deltas: bool) -> None:
        self._wants = want_deltas
        self._splitter = SseSplitter()
        self._candidates: dict[int, _Reading] = {}
        self._is_started = False
        self._is_blocked = False
        self._model = ""
        self._id = ""
        self._usage: WireUsage | None = None
        self._searches = 0
        self._characters = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by this chunk. Raises UpstreamProtocolError."""
        return [self._event(frame.wire, frame.data) for frame in self._splitter.feed(chunk)]

    def eof(self) -> list[Event]:
        """Nothing more comes. Raises UpstreamTruncatedError while a candidate is unfinished."""
        if self._splitter.pending.strip() or not self._is_complete:
            raise UpstreamTruncatedError("The provider's stream stopped before its end.")
        return []

    @property
    def tally(self) -> Tally:
        """What is known so far."""
        finishes = [each.finish for each in self._candidates.values()]
        if self._is_blocked and not finishes:
            finishes = ["content_filter"]
        return Tally(
            usage=self._core_usage(),
            finish_reasons=tuple(finish for finish in finishes if finish),
            model=self._model or None,
            service_tier=self._usage.tier if self._usage else None,
            is_complete=self._is_complete,
            output_characters=self._characters,
        )

    @property
    def _is_complete(self) -> bool:
        finishes = [each.finish for each in self._candidates.values()]
        return all(finishes) if finishes else self._is_blocked

    def _core_usage(self) -> Usage | None:
        return self._usage.to_core(searches=self._searches) if self._usage else None

    def _event(self, wire: bytes, data: bytes | None) -> Event:
        if data is None:
            return Event(wire=wire, kind=EventKind.META, deltas=() if self._wants else None)
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UpstreamProtocolError(
                f"The provider sent a stream event that is no {NAME}."
            ) from None
        if chunk.error is not None:
            failed = Failed(error=error_of(chunk.error, None, {}))
            return Event(wire=wire, kind=EventKind.ERROR, deltas=(failed,))
        deltas: list[Delta] = []
        self._note(chunk, deltas)
        for candidate in chunk.candidates:
            self._read(candidate, deltas)
        if (
            chunk.prompt_feedback is not None
            and chunk.prompt_feedback.block_reason
            and not chunk.candidates
        ):
            self._is_blocked = True
            raw = chunk.prompt_feedback.block_reason
            deltas.append(Finished(finish_reason="content_filter", raw_finish=raw))
        kind = self._kind(chunk)
        if (
            self._usage is not None
            and chunk.usage_metadata is not None
            and kind is not EventKind.CONTENT
        ):
            usage = self._usage.to_core(searches=self._searches)
            deltas.append(UsageDelta(usage=usage, service_tier=self._usage.tier))
        return Event(wire=wire, kind=kind, deltas=tuple(deltas) if self._wants else None)

    def _note(self, chunk: _Chunk, deltas: list[Delta]) -> None:
        self._model = chunk.model_version or self._model
        self._id = chunk.response_id or self._id
        self._usage = chunk.usage_metadata or self._usage
        if not self._is_started:
            self._is_started = True
            deltas.append(Started(id=self._id, model=self._model))

    def _read(self, candidate: _Candidate, deltas: list[Delta]) -> None:
        reading = self._candidates.setdefault(candidate.index, _Reading())
        for part in candidate.content.parts if candidate.content else ():
            delta = self._delta(part, candidate.index, reading)
            if delta is not None:
                deltas.append(delta)
        self._searches += billed_searches(candidate.grounding_metadata, self._model)
        finish = finish_of(candidate.finish_reason, has_calls=reading.calls > 0)
        if finish is not None:
            reading.finish = finish
            deltas.append(
                Finished(
                    finish_reason=finish, choice=candidate.index, raw_finish=candidate.finish_reason
                )
            )

    def _delta(self, part: _Part, choice: int, reading: _Reading) -> Delta | None:
        call = part.function_call
        if call is not None:
            arguments = bytes(call.args).decode()
            self._characters += len(arguments)
            index, reading.calls, reading.kind = reading.calls, reading.calls + 1, "call"
            stem = f"{self._id[:STEM]}_" if self._id else ""
            suffix = f"{choice}_{index}" if choice else str(index)
            return ToolCallDelta(
                index=index,
                choice=choice,
                id=call.id or f"{SYNTHETIC}{stem}{suffix}",
                name=call.name,
                arguments=arguments,
                signature=None if part.thought_signature is None else seal(part.thought_signature),
            )
        text = part.text or ""
        self._characters += len(text)
        if part.thought:
            sealed = None if part.thought_signature is None else seal(part.thought_signature)
            if not text and sealed is None:
                return None
            number = reading.part("reasoning")
            return ReasoningDelta(text=text, choice=choice, part=number, encrypted=sealed)
        return TextDelta(text=text, choice=choice, part=reading.part("text")) if text else None

    def _kind(self, chunk: _Chunk) -> EventKind:
        if self._is_blocked or any(each.finish_reason for each in chunk.candidates):
            return EventKind.FINISH
        if any(each.content and each.content.parts for each in chunk.candidates):
            return EventKind.CONTENT
        return EventKind.USAGE if chunk.usage_metadata is not None else EventKind.META


class _Waiting:
    """A function call whose arguments are still coming: this dialect shows it only whole."""

    __slots__ = ("arguments", "id", "name", "signature")

    def __init__(self) -> None:
        self.id: str | None = None
        self.name = ""
        self.arguments: list[str] = []
        self.signature: str | None = None


class Writer:
    """Writes one `alt=sse` stream. Finish reasons and usage stand on the last chunk."""

    def __init__(self, head: Head, *, call_id: str) -> None:
        self._id = call_id
        self._model = head.model
        self._calls: dict[tuple[int, int], _Waiting] = {}
        self._finished: dict[int, Finished] = {}
        self._refused: set[int] = set()
        self._usage: Usage | None = None
        self._has_failed = False

    def write(self, delta: Delta) -> bytes:
        """The chunks for one delta. A function call waits until its arguments are whole."""
        if self._has_failed:
            return b""
        match delta:
            case Started():
                self._id, self._model = delta.id or self._id, delta.model or self._model
                self._usage = delta.usage or self._usage
                return b""
            case UsageDelta():
                self._usage = delta.usage
                return b""
            case Finished(finish_reason="stop") if delta.choice in self._refused:
                # A refusal is told as text here, so the end must say it.
                self._finished[delta.choice] = Finished(
                    finish_reason="refusal", choice=delta.choice
                )
                return b""
            case Finished():
                self._finished[delta.choice] = delta
                return b""
            case Failed():
                return self.error(delta.error)
            case ToolCallDelta():
                return self._collect(delta)
            case TextDelta() | RefusalDelta():
                if isinstance(delta, RefusalDelta):
                    self._refused.add(delta.choice)
                return self._flush() + self._chunk(delta.choice, {"text": delta.text})
            case ReasoningDelta():
                return self._flush() + self._thought(delta)

    def error(self, error: FarthingError) -> bytes:
        """A chunk with the error. No finish reason follows, so no client takes the answer for whole."""
        self._has_failed = True
        return b"data: " + msgspec.json.encode(error_json(error)) + b"\n\n"

    def end(self) -> bytes:
        """What waits, then the finish reasons and the usage."""
        out = self._flush()
        if self._has_failed:
            return out
        candidates = [
            {
                "content": {"role": "model", "parts": [{"text": ""}]},
                "finishReason": reason_of(finished.finish_reason, finished.raw_finish),
                "index": choice,
            }
            for choice, finished in sorted(self._finished.items())
        ]
        body: Json = {"candidates": candidates} if candidates else {}
        if self._usage is not None:
            body["usageMetadata"] = usage_json(self._usage)
        return out + self._frame(body) if body else out

    def _collect(self, delta: ToolCallDelta) -> bytes:
        key = (delta.choice, delta.index)
        out = b"" if key in self._calls else self._flush()
        call = self._calls.setdefault(key, _Waiting())
        call.id = delta.id or call.id
        call.name = delta.name or call.name
        call.signature = delta.signature or call.signature
        call.arguments.append(delta.arguments)
        return out

    def _flush(self) -> bytes:
        """The waiting calls, each whole. Arguments that are no JSON object end the stream in an error."""
        out = b""
        for (choice, index), call in self._calls.items():
            text = "".join(call.arguments).strip() or "{}"
            try:
                msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            except msgspec.MsgspecError:
                return out + self.error(
                    UpstreamProtocolError(
                        "The model's tool call has arguments that are no JSON object."
                    )
                )
            shown: Json = {"name": call.name, "args": msgspec.Raw(text.encode())}
            shown["id"] = call.id or f"{SYNTHETIC}{index}"
            part: Json = {"functionCall": shown}
            signature = unsealed(call.signature)
            if signature is not None:
                part["thoughtSignature"] = signature
            out += self._chunk(choice, part)
        self._calls.clear()
        return out

    def _thought(self, delta: ReasoningDelta) -> bytes:
        signature = unsealed(delta.encrypted) or unsealed(delta.signature)
        if not delta.text and signature is None:
            return b""
        part: Json = {"text": delta.text, "thought": True}
        if signature is not None:
            part["thoughtSignature"] = signature
        return self._chunk(delta.choice, part)

    def _chunk(self, choice: int, part: Json) -> bytes:
        content = {"role": "model", "parts": [part]}
        return self._frame({"candidates": [{"content": content, "index": choice}]})

    def _frame(self, body: Json) -> bytes:
        body["modelVersion"] = self._model
        body["responseId"] = self._id
        return b"data: " + msgspec.json.encode(body) + b"\n\n"
