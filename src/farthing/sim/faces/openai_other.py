"""OpenAI's legacy completions and its embeddings (API reference, read 2026-11)."""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from farthing.sim.asks import Ask, Frame, RefusedError, Reply
from farthing.sim.faces.openai_chat import END, FINGERPRINT, finish_word, usage_json
from farthing.sim.faces.shape import Json, decode, encode, sse

#: Output of a completion without max_tokens (OpenAI's documented default).
_DEFAULT_MAX_TOKENS = 16
_Prompt = str | list[str | int | list[int]]


class _Options(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _Completion(msgspec.Struct, frozen=True):
    prompt: _Prompt
    model: str = ""
    stream: bool | None = None
    stream_options: _Options | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    stop: str | list[str] | None = None


class _Embedding(msgspec.Struct, frozen=True):
    input: _Prompt
    model: str = ""
    dimensions: int | None = None
    encoding_format: str | None = None


def parse_completion(body: bytes) -> Ask:
    """The request. Raises RefusedError (400)."""
    request = decode(body, _Completion)
    prompts, stop = _texts(request.prompt), request.stop
    most = _DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    n = request.n or 1
    if request.best_of is not None and request.best_of < n:
        raise RefusedError(400, "invalid_value", "best_of must be at least n.", param="best_of")
    return Ask(
        model=request.model,
        prompt=prompts,
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        max_tokens=most,
        n=n * len(prompts),
        best_of=(request.best_of or 1) * len(prompts),
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        is_echo=bool(request.echo),
    )


def completion(reply: Reply) -> bytes:
    """The body of an unstreamed completion."""
    choices: list[Json] = [
        {"text": s.text, "index": s.index, "logprobs": None, "finish_reason": finish_word(s)}
        for s in reply.spoken
    ]
    return encode(_envelope(reply, choices) | {"usage": usage_json(reply.usage)})


def completion_stream(reply: Reply) -> Iterator[Frame]:
    """The events of a streamed completion."""
    for spoken in reply.spoken:
        choice: Json = {"text": "", "index": spoken.index, "logprobs": None, "finish_reason": None}
        for start in range(0, len(spoken.pieces), reply.events_of):
            part = spoken.pieces[start : start + reply.events_of]
            body = _envelope(reply, [choice | {"text": "".join(part)}])
            yield Frame(data=sse(body), tokens=len(part), is_content=True)
        end = choice | {"finish_reason": finish_word(spoken)}
        yield Frame(data=sse(_envelope(reply, [end])), tokens=len(spoken.thoughts))
    if reply.ask.include_usage:
        yield Frame(data=sse(_envelope(reply, []) | {"usage": usage_json(reply.usage)}))
    yield END


#: Of OpenAI's largest embedding model, text-embedding-3-large (its documentation, 2024-01).
MAX_DIMENSIONS = 3072


def parse_embedding(body: bytes) -> Ask:
    """The request. Raises RefusedError (400)."""
    request = decode(body, _Embedding)
    inputs = _texts(request.input)
    if not inputs or not all(inputs):
        raise RefusedError(400, "invalid_value", "'input' must not be empty.", param="input")
    if request.dimensions is not None and not 1 <= request.dimensions <= MAX_DIMENSIONS:
        raise RefusedError(
            400,
            "invalid_value",
            f"'dimensions' must be between 1 and {MAX_DIMENSIONS}.",
            param="dimensions",
        )
    return Ask(
        model=request.model,
        prompt=inputs,
        dimensions=request.dimensions,
        is_base64=request.encoding_format == "base64",
    )


def embedding(reply: Reply) -> bytes:
    """The body of an embedding answer: vectors from hashes, the same for the same text."""
    data: list[Json] = []
    for index, text in enumerate(reply.ask.prompt):
        numbers = vector(text, reply.dimensions)
        shown: object = list(numbers)
        if reply.ask.is_base64:
            shown = b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    used = reply.usage.input_tokens
    usage: Json = {"prompt_tokens": used, "total_tokens": used}
    return encode({"object": "list", "data": data, "model": reply.model, "usage": usage})


def vector(text: str, dimensions: int) -> tuple[float, ...]:
    """`dimensions` float32 numbers of length 1, derived from the text's hash. No meaning is in them."""
    seed = blake2b(text.encode("utf-8", "replace"), digest_size=32).digest()
    raw = [
        int.from_bytes(blake2b(seed + i.to_bytes(4, "big"), digest_size=4).digest(), "big") / 2**31
        - 1
        for i in range(dimensions)
    ]
    norm = math.sqrt(sum(x * x for x in raw)) or 1.0
    return struct.unpack(
        f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(x / norm for x in raw))
    )


def no_stream(reply: Reply) -> Iterator[Frame]:
    """Embeddings are never streamed."""
    yield from ()


def _envelope(reply: Reply, choices: list[Json]) -> Json:
    return {
        "id": f"cmpl-{reply.id}",
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }


def _texts(prompt: _Prompt) -> tuple[str, ...]:
    """Prompts one by one; token arrays become their numbers as words."""
    if isinstance(prompt, str):
        return (prompt,)
    if prompt and all(isinstance(item, int) for item in prompt):
        return (" ".join(str(item) for item in prompt),)
    return tuple(
        item
        if isinstance(item, str)
        else " ".join(map(str, item if isinstance(item, list) else [item]))
        for item in prompt
    )
