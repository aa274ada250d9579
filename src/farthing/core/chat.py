"""Chat and embedding requests and answers, independent of any vendor's JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from farthing.core.errors import FarthingError
from farthing.core.messages import Message
from farthing.core.private import Extra, PrivateStruct
from farthing.core.usage import Usage

#: Why a choice ended. `other` keeps a vendor's reason that has no common word (see `Choice.raw_finish`).
FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "other"
]


class Tool(PrivateStruct, frozen=True, kw_only=True):
    """A function the model may call. parameters: JSON schema as JSON text.

    kind: `function`, or a vendor's built-in tool name (kept in `raw`, another dialect refuses it).
    """

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None
    kind: str = "function"
    raw: msgspec.Raw | None = None
    extra: Extra = {}


class ToolChoice(PrivateStruct, frozen=True, kw_only=True):
    """Which tool must be used: `auto`, `none`, `required`, or `tool` with its `name`."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None


class ResponseFormat(PrivateStruct, frozen=True, kw_only=True):
    """The form of the answer. schema: JSON schema as JSON text, for `json_schema`."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: msgspec.Raw | None = None
    strict: bool | None = None
    description: str | None = None


class Reasoning(PrivateStruct, frozen=True, kw_only=True):
    """How much the model may think. budget_tokens: where the dialect counts; effort: where it names.

    budget_tokens 0 means off, -1 means that the model decides. summary: `auto`, `concise`, `detailed`.
    """

    effort: str | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    include_thoughts: bool | None = None


class ChatRequest(PrivateStruct, frozen=True, kw_only=True):
    """One chat call. System and developer instructions are leading messages.

    dialect: where it came from; `extra` fields are spoken again in that dialect and reported as dropped
    (or refused) in another. max_output_tokens, stop, n, …: as in the OpenAI vocabulary.
    """

    model: str
    messages: tuple[Message, ...]
    dialect: str = "openai-chat"
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning: Reasoning | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: msgspec.Raw | None = None
    extra: Extra = {}


class Choice(PrivateStruct, frozen=True, kw_only=True):
    """One of the answers. raw_finish: the vendor's own word. stop_sequence: the one that was hit."""

    index: int
    message: Message
    finish_reason: FinishReason | None
    raw_finish: str | None = None
    stop_sequence: str | None = None
    logprobs: msgspec.Raw | None = None
    extra: Extra = {}


class Completion(PrivateStruct, frozen=True, kw_only=True):
    """A whole answer. usage None: the vendor did not report any. created: unix seconds."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int | None = None
    service_tier: str | None = None
    dialect: str = "openai-chat"
    extra: Extra = {}


class EmbedRequest(PrivateStruct, frozen=True, kw_only=True):
    """Texts (or token arrays) to embed. inputs: one JSON value per input, verbatim."""

    model: str
    inputs: tuple[msgspec.Raw, ...]
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None
    extra: Extra = {}


# --- Deltas: the pieces of a streamed answer -------------------------------------------------------


class Started(PrivateStruct, frozen=True, kw_only=True, tag="started"):
    """The answer has an id and a model; nothing was said yet. usage: what the vendor knows already."""

    id: str
    model: str
    created: int | None = None
    usage: Usage | None = None
    service_tier: str | None = None


class TextDelta(PrivateStruct, frozen=True, kw_only=True, tag="text"):
    """More text of choice `choice`. part counts the text blocks of the choice from 0."""

    text: str
    choice: int = 0
    part: int = 0
    logprobs: msgspec.Raw | None = None


class RefusalDelta(PrivateStruct, frozen=True, kw_only=True, tag="refusal"):
    """More of the refusal's words."""

    text: str
    choice: int = 0


class ReasoningDelta(PrivateStruct, frozen=True, kw_only=True, tag="reasoning"):
    """More thinking, or its seal. part counts the reasoning items of the choice from 0."""

    text: str = ""
    choice: int = 0
    part: int = 0
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None


class ToolCallDelta(PrivateStruct, frozen=True, kw_only=True, tag="tool_call"):
    """A piece of tool call number `index` (from 0 within the choice). id and name come with the first."""

    index: int
    choice: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None


class Finished(PrivateStruct, frozen=True, kw_only=True, tag="finished"):
    """Choice `choice` ended for `finish_reason`."""

    finish_reason: FinishReason
    choice: int = 0
    raw_finish: str | None = None
    stop_sequence: str | None = None


class UsageDelta(PrivateStruct, frozen=True, kw_only=True, tag="usage"):
    """The usage of the whole answer so far; the last one counts."""

    usage: Usage
    service_tier: str | None = None


class Failed(PrivateStruct, frozen=True, kw_only=True, tag="failed"):
    """The vendor reported an error inside the stream."""

    error: FarthingError


Delta = (
    Started
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ToolCallDelta
    | Finished
    | UsageDelta
    | Failed
)

#: Deltas after which the client has seen content, so that a failure can no longer be replayed elsewhere.
CONTENT_DELTAS = (TextDelta, RefusalDelta, ReasoningDelta, ToolCallDelta)
