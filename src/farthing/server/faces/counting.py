"""Counts a request's input tokens without calling a provider, for the faces that offer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from farthing.base.tokens import estimate_tokens
from farthing.core.chat import ChatRequest
from farthing.core.errors import BadRequestError
from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.server.faces.face import Visit, identify, read_body
from farthing.wire.dialects import codec
from farthing.wire.malformed import MALFORMED, complaint

#: Role and separators of one message, in tokens (OpenAI cookbook, "How to count tokens", 2024: 3 to 4).
TOKENS_PER_MESSAGE = 4
#: One image or document page, roughly: OpenAI's high detail at 1024 × 1024 is 765, Anthropic's about 1,400.
TOKENS_PER_MEDIUM = 1_000


async def count_input(
    visit: Visit,
    dialect: str,
    answer: Callable[[int], Mapping[str, object]],
    *,
    model: str | None = None,
    wrapper: str | None = None,
    defaults: Mapping[str, msgspec.Raw] = {},
) -> None:
    """Answer with an estimate, said to be one in `x-farthing-estimated`. Nothing is sent or charged.

    answer: the dialect's body for a count. model: where the path names it. wrapper: a field that may hold
    the request itself. defaults: fields that a call must have and a counting request has not.
    """
    caller = await identify(visit)
    fields = _fields(await read_body(visit))
    if wrapper is not None and wrapper in fields:
        fields = _fields(bytes(fields[wrapper]))
    for name, value in defaults.items():
        fields.setdefault(name, value)
    request = codec(dialect).decode_request(msgspec.json.encode(fields))
    asked = model or request.model
    gateway = visit.gateway
    gateway.accounts.check_scope(caller, model=asked, face=visit.face.name)
    route = gateway.directory.route(asked)
    tokens = estimate_input(request, route.groups[0][0].model)
    body = msgspec.json.encode(answer(tokens))
    await visit.exchange.send(200, body, ((b"x-farthing-estimated", b"true"),))


def estimate_input(request: ChatRequest, model: str) -> int:
    """Roughly the input tokens of a request: its texts, its tools, its media at a flat rate each."""
    texts: list[str] = []
    media = sum(_gather(message.parts, texts) for message in request.messages)
    for tool in request.tools:
        texts += [tool.name, tool.description or ""]
        texts.append(bytes(tool.parameters or b"").decode("utf-8", errors="replace"))
    tokens = estimate_tokens("\n".join(texts), model) + TOKENS_PER_MEDIUM * media
    return tokens + TOKENS_PER_MESSAGE * _turns(request.messages)


def _gather(parts: Iterable[Part], texts: list[str]) -> int:
    """Add the parts' words to `texts`; the number of media among them."""
    media = 0
    for part in parts:
        if isinstance(part, TextPart | ReasoningPart | RefusalPart):
            texts.append(part.text)
        elif isinstance(part, ToolCallPart):
            texts += [part.name, part.arguments]
        elif isinstance(part, ToolResultPart):
            media += _gather(part.content, texts)
        elif isinstance(part, ImagePart | AudioPart | FilePart):
            media += 1
        else:
            texts.append(bytes(part.raw).decode("utf-8", errors="replace"))
    return media


def _turns(messages: tuple[Message, ...]) -> int:
    return max(1, len(messages))


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except MALFORMED as error:
        told = complaint(error, body)
        raise BadRequestError(told.message, hint=told.hint, param=told.param) from None
