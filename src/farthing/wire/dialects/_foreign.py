"""What becomes of one dialect's own fields in another: listed as dropped, or refused by meaning."""

from __future__ import annotations

from collections.abc import Iterator

from farthing.core.chat import ChatRequest, Choice, Completion, FinishReason
from farthing.core.errors import UntranslatableError
from farthing.core.messages import Message, OpaquePart, Part, RefusalPart, ToolResultPart
from farthing.core.private import Extra

#: Request fields, by source dialect, whose loss would change what is answered, where it is computed or
#: what state it builds on. Every other unknown field is listed in `x-farthing-dropped`.
REFUSED: dict[str, frozenset[str]] = {
    "openai-chat": frozenset(
        {
            "audio",
            "function_call",
            "functions",
            "logit_bias",
            "modalities",
            "tool_choice",
            "web_search_options",
        }
    ),
    "openai-completions": frozenset({"best_of", "echo", "logit_bias", "logprobs", "suffix"}),
    "openai-responses": frozenset(
        {
            "background",
            "conversation",
            "max_tool_calls",
            "previous_response_id",
            "prompt",
            "tool_choice",
        }
    ),
    "anthropic-messages": frozenset(
        {"container", "context_management", "fallbacks", "inference_geo", "mcp_servers"}
    ),
    "google-generate": frozenset(
        {
            "allowedFunctionNames",
            "cachedContent",
            "continuationToken",
            "imageConfig",
            "responseMimeType",
            "responseModalities",
            "speechConfig",
        }
    ),
}

#: JSON texts of a refused field that ask for nothing, so that it may be dropped after all.
_IDLE = {b"null", b"false", b"[]", b"{}", b'["text"]', b'["TEXT"]'}

#: Fields of an answer that repeat the request, or label the vendor's own copy: no loss elsewhere.
_REPEATED: dict[str, frozenset[str]] = {
    "openai-responses": frozenset(
        {
            "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
            "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
            "prompt_cache_retention", "reasoning", "safety_identifier", "store", "temperature", "text",
            "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
        }
    ),
}  # fmt: skip
_LABELS = frozenset({"id", "status", "item.id", "item.status"})


def foreign_fields(request: ChatRequest, dialect: str) -> list[str]:
    """Paths of the fields of another dialect that `dialect` cannot say; empty within one dialect.

    Covers the request's own extra fields and those of its messages, parts and tools. Raises
    UntranslatableError, naming the field, for those in `REFUSED` and for opaque parts and built-in
    tools of another dialect.
    """
    if request.dialect == dialect:
        return []
    refused = REFUSED.get(request.dialect, frozenset())
    dropped = []
    for name, raw in request.extra.items():
        # A field of a nested object is kept under its path; the table names it by its last word.
        if name.rpartition(".")[2] not in refused:
            dropped.append(name)
        elif bytes(raw).strip() not in _IDLE:
            raise untranslatable(name, request.dialect, dialect)
    for number, message in enumerate(request.messages):
        dropped += _of_message(message, f"messages[{number}]", dialect)
    for number, tool in enumerate(request.tools):
        if tool.kind != "function":
            raise untranslatable(
                f"tools[{number}]", request.dialect, dialect, what=f"tool '{tool.kind}'"
            )
        dropped += _of_extra(tool.extra, f"tools[{number}]")
    return dropped


def foreign_answer_fields(completion: Completion) -> list[str]:
    """Fields of another dialect's answer that were left out and say something of their own."""
    repeated = _REPEATED.get(completion.dialect, frozenset())
    return [name for name in _telling(completion.extra) if name not in repeated]


def foreign_message_fields(message: Message, path: str, dialect: str) -> list[str]:
    """The same for one message of an answer; opaque parts are listed instead of refused.

    An answer has been paid for: what a client's dialect cannot show of it is named, not thrown away
    together with the rest.
    """
    dropped = [f"{path}.{name}" for name in _telling(message.extra)]
    for number, part in enumerate(message.parts):
        place = f"{path}.content[{number}]"
        if isinstance(part, OpaquePart):
            if part.dialect != dialect:
                dropped.append(f"{place}.{part.kind}")
        else:
            dropped += [f"{place}.{name}" for name in _telling(part.extra)]
    return dropped


def _telling(extra: Extra) -> list[str]:
    return [name for name, raw in extra.items() if name not in _LABELS and bytes(raw) not in _IDLE]


def untranslatable(
    path: str, source: str, target: str, *, what: str = "field"
) -> UntranslatableError:
    """The refusal of a field, tool or part that `target` has no words for."""
    return UntranslatableError(
        f"The {what} at '{path}' of this {source} request has no equivalent in {target}, "
        "and leaving it out would change the answer.",
        hint=f"Remove it, or send the call to a model that is served in {source}.",
        param=path,
    )


def _of_message(message: Message, path: str, dialect: str) -> Iterator[str]:
    yield from _of_extra(message.extra, path)
    for number, part in enumerate(message.parts):
        yield from _of_part(part, f"{path}.content[{number}]", dialect)


def _of_part(part: Part, path: str, dialect: str) -> Iterator[str]:
    if isinstance(part, OpaquePart):
        if part.dialect != dialect:
            raise untranslatable(path, part.dialect, dialect, what=f"content part '{part.kind}'")
        return
    yield from _of_extra(part.extra, path)
    if isinstance(part, ToolResultPart):
        for number, inner in enumerate(part.content):
            yield from _of_part(inner, f"{path}.content[{number}]", dialect)


def _of_extra(extra: Extra, path: str) -> list[str]:
    return [f"{path}.{name}" for name in extra]


def plain_finish(choice: Choice) -> FinishReason | None:
    """Why a choice ended, for a dialect that has no parts for refusals.

    OpenAI calls a refusal's end `stop`, since its part says what it is; told as text, the end must.
    """
    is_refusal = any(isinstance(part, RefusalPart) for part in choice.message.parts)
    return "refusal" if is_refusal and choice.finish_reason == "stop" else choice.finish_reason
