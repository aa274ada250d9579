"""Requests of OpenAI's legacy completions to ChatRequest and back: one prompt is one user message."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest
from farthing.core.errors import BadRequestError, UntranslatableError
from farthing.core.messages import Message, TextPart
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields, merged
from farthing.wire.dialects._foreign import foreign_fields

NAME = "openai-completions"

_NAMED = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "user",
)
#: Core fields that a text completion cannot keep: without them the answer would be another one.
_CHAT_ONLY = ("tools", "response_format", "logprobs", "top_logprobs")


def decode_request(body: bytes) -> ChatRequest:
    """The request in core words. Raises BadRequestError, and UntranslatableError for the prompts that
    no chat can say: several at once, or tokens.
    """
    fields = Fields(body, fail=BadRequestError)
    prompt = _prompt(fields)
    options = fields.object("stream_options")
    include_usage = False
    if options is not None:
        include_usage = options.boolean("include_usage") or False
        fields.put_back("stream_options", options.rest())
    stop = fields.required_string("stop") if fields.is_string("stop") else None
    count = fields.integer("n")
    return ChatRequest(
        dialect=NAME,
        model=fields.required_string("model"),
        messages=(Message(role="user", parts=(TextPart(text=prompt),)),),
        stream=fields.boolean("stream") or False,
        include_usage=include_usage,
        max_output_tokens=fields.integer("max_tokens"),
        stop=fields.strings("stop") if stop is None else (stop,),
        n=1 if count is None else count,
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        user=fields.string("user"),
        extra={name: raw for name, raw in fields.rest().items() if not _asks_nothing(name, raw)},
    )


def _prompt(fields: Fields) -> str:
    if fields.is_string("prompt"):
        return fields.required_string("prompt")
    raw = fields.raw("prompt")
    if raw is None:
        raise fields.fault("prompt", "is missing.")
    try:
        members = msgspec.json.decode(raw, type=list[str | int | list[int]])
    except msgspec.MsgspecError:
        raise fields.fault("prompt", "must be a text, or an array of texts or tokens.") from None
    if len(members) == 1 and isinstance(members[0], str):
        return members[0]
    what = "several prompts" if members and isinstance(members[0], str) else "a prompt of tokens"
    raise UntranslatableError(
        f"The field 'prompt' holds {what}, which has no equivalent in a chat.",
        hint="Send one text per call, or choose a model that is served with completions.",
        param="prompt",
    )


def _asks_nothing(name: str, raw: msgspec.Raw) -> bool:
    """Whether a field of this dialect alone has the value that it has when left out."""
    return (name, bytes(raw).strip()) in {
        ("best_of", b"1"),
        ("echo", b"false"),
        ("logit_bias", b"{}"),
        ("suffix", b'""'),
    }


def encode_request(request: ChatRequest) -> Encoded:
    """The body for a provider. Raises UntranslatableError unless the chat is one user's text."""
    dropped = foreign_fields(request, NAME)
    for name in _CHAT_ONLY:
        if getattr(request, name):
            raise _refused(name)
    body: dict[str, object] = {"model": request.model, "prompt": _only_text(request)}
    if request.stream:
        body["stream"] = True
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
    if request.max_output_tokens is not None:
        body["max_tokens"] = request.max_output_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.n != 1:
        body["n"] = request.n
    for name in _NAMED:
        value = getattr(request, name)
        if value is not None and (name != "top_k" or request.dialect == NAME):
            body[name] = value
    dropped += [
        name
        for name in ("reasoning", "service_tier", "metadata", "tool_choice")
        if getattr(request, name) is not None
    ]
    if request.dialect == NAME:
        extra = dict(request.extra)
        merged(body, "stream_options", extra)
        body.update(extra)
    elif request.top_k is not None:
        dropped.append("top_k")
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _only_text(request: ChatRequest) -> str:
    if len(request.messages) == 1 and request.messages[0].role == "user":
        parts = request.messages[0].parts
        if len(parts) == 1 and isinstance(parts[0], TextPart):
            return parts[0].text
    raise _refused("messages")


def _refused(param: str) -> UntranslatableError:
    return UntranslatableError(
        f"'{param}' cannot be kept: {NAME} continues one text and knows no chat.",
        hint="Choose a model that is served with chat, or send a single text.",
        param=param,
    )
