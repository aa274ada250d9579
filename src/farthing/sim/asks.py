"""What is asked of a simulated model and what it says, independent of any vendor's JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from farthing.core.private import PrivateStruct
from farthing.core.usage import Usage

Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
ToolMode = Literal["auto", "none", "required", "tool"]


class Turn(PrivateStruct, frozen=True):
    """One message, flattened. cache: an Anthropic breakpoint behind it (`5m`, `1h`)."""

    role: str
    text: str
    images: int = 0
    cache: str | None = None


class ToolSpec(PrivateStruct, frozen=True):
    """A tool that may be called. schema: JSON schema as JSON text, empty when there is none."""

    name: str
    schema: bytes = b""


class Ask(PrivateStruct, frozen=True):
    """A parsed request. max_tokens None: no bound was given. schema: the answer must be such JSON.

    prompt: for completions and embeddings the inputs one by one, else empty.
    """

    model: str
    turns: tuple[Turn, ...] = ()
    prompt: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    tools: tuple[ToolSpec, ...] = ()
    tool_mode: ToolMode = "auto"
    tool_name: str | None = None
    is_parallel: bool = True
    schema: bytes | None = None
    is_json: bool = False
    max_tokens: int | None = None
    n: int = 1
    best_of: int = 1
    stop: tuple[str, ...] = ()
    effort: str | None = None
    show_thoughts: bool = False
    thinking_budget: int | None = None
    tier: str | None = None
    is_echo: bool = False
    dimensions: int | None = None
    is_base64: bool = False

    @property
    def text(self) -> str:
        """Everything the model reads, in order."""
        return "\n".join((*(f"{turn.role}: {turn.text}" for turn in self.turns), *self.prompt))

    @property
    def last(self) -> str:
        """What the user said last; the answer is taken from it."""
        for turn in reversed(self.turns):
            if turn.role == "user" and turn.text:
                return turn.text
        return self.prompt[0] if self.prompt else ""


class ToolCall(PrivateStruct, frozen=True):
    """A call of a tool. arguments: JSON text."""

    id: str
    name: str
    arguments: str


class Spoken(PrivateStruct, frozen=True):
    """One answer. pieces: its tokens (the refusal's when is_refusal). thoughts: visible reasoning."""

    index: int
    finish: Finish
    pieces: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    is_refusal: bool = False
    thoughts: tuple[str, ...] = ()
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self.pieces)


class Screening(msgspec.Struct, frozen=True, kw_only=True):
    """What the content filter found. prompt, completion: blocked category. is_outage: it was down."""

    prompt: str | None = None
    completion: str | None = None
    is_outage: bool = False


class Reply(PrivateStruct, frozen=True):
    """A whole answer, before a face writes it. created: unix seconds. screening None: no annotations.

    blocked: the category for which the prompt was refused inside a 200 (Google). events_of: tokens per
    event. dimensions: length of embedding vectors.
    """

    id: str
    model: str
    created: int
    ask: Ask
    spoken: tuple[Spoken, ...]
    usage: Usage
    screening: Screening | None = None
    blocked: str | None = None
    dimensions: int = 0
    events_of: int = 1


class Frame(PrivateStruct, frozen=True):
    """One event of a stream: its bytes, the output tokens in it, and whether a reader would miss it."""

    data: bytes
    tokens: int = 0
    is_content: bool = False


class RefusedError(Exception):
    """The vendor says no: status, its own code, and words. retry_after_s with 429."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        screening: Screening | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.screening = screening
        self.headers = headers
