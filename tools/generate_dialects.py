"""Ask the codecs what becomes of each field, end and error between the vendors' dialects."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from farthing.core.chat import Choice, Completion, FinishReason
from farthing.core.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    ContextTooLongError,
    FarthingError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitedError,
    UnknownModelError,
    UntranslatableError,
    UpstreamServerError,
    UpstreamTimeoutError,
)
from farthing.core.messages import Message, RefusalPart, TextPart
from farthing.wire.dialects import codec

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "google-generate")
PROBES = Path(__file__).with_name("dialect_probes.toml")
#: The errors that callers meet; the others are told by their status in the same way.
_ERRORS: tuple[type[FarthingError], ...] = (
    BadRequestError,
    UntranslatableError,
    ContextTooLongError,
    AuthenticationError,
    BudgetExceededError,
    PermissionDeniedError,
    UnknownModelError,
    RateLimitedError,
    UpstreamServerError,
    OverloadedError,
    UpstreamTimeoutError,
)


def render() -> str:
    """The body of docs/reference/dialects.md."""
    return "\n".join([*_requests(), *_ends(), *_errors()])


def outcome(client: str, provider: str, probe: str) -> str:
    """`kept`, `400`, or the names under which the loss is listed. probe: JSON added to the least request."""
    tables = tomllib.loads(PROBES.read_text("utf-8"))[client]
    base = msgspec.json.decode(tables["base"])
    before = _dropped(client, provider, base)
    try:
        after = _dropped(client, provider, base | msgspec.json.decode(probe))
    except UntranslatableError:
        return "400"
    return ", ".join(f"`{name}`" for name in after if name not in before) or "kept"


def _dropped(client: str, provider: str, body: dict[str, Any]) -> tuple[str, ...]:
    parsed = codec(client).decode_request(msgspec.json.encode(body))
    return codec(provider).encode_request(msgspec.structs.replace(parsed, model="m")).dropped


def _requests() -> Iterator[str]:
    tables = tomllib.loads(PROBES.read_text("utf-8"))
    yield "## Requests\n"
    yield (
        "**kept**: said in the provider's dialect with the same meaning. **400**: refused with the field and "
        "the way out in the error. Anything else is the name under which `x-farthing-dropped` lists what "
        "was left out."
    )
    for client in DIALECTS:
        others = [name for name in DIALECTS if name != client]
        yield f"\n### From {client} to …\n"
        yield f"| field | {' | '.join(others)} |"
        yield "|---|" + "---|" * len(others)
        for field, probe in tables[client]["probes"].items():
            cells = [outcome(client, provider, probe) for provider in others]
            yield f"| `{field}` | {' | '.join(cells)} |"


def _ends() -> Iterator[str]:
    yield "\n## Why an answer ended\n"
    yield "What a client of each dialect reads when the provider spoke another one.\n"
    yield f"| end | {' | '.join(DIALECTS)} |"
    yield "|---|" + "---|" * len(DIALECTS)
    for reason in get_args(FinishReason):
        cells = [f"`{_end(name, reason)}`" for name in DIALECTS]
        yield f"| {reason} | {' | '.join(cells)} |"


def _end(dialect: str, reason: FinishReason) -> str:
    source = "openai-chat" if dialect != "openai-chat" else "anthropic-messages"
    part = RefusalPart(text="x") if reason == "refusal" else TextPart(text="x")
    choice = Choice(index=0, message=Message(role="assistant", parts=(part,)), finish_reason=reason)
    completion = Completion(id="i", model="m", choices=(choice,), dialect=source, created=0)
    shown = msgspec.json.decode(codec(dialect).encode_response(completion).body)
    if dialect == "openai-chat":
        return str(shown["choices"][0]["finish_reason"])
    if dialect == "openai-responses":
        details = shown.get("incomplete_details")
        return str(shown["status"]) + (f": {details['reason']}" if details else "")
    if dialect == "anthropic-messages":
        return str(shown["stop_reason"])
    return str(shown["candidates"][0]["finishReason"])


def _errors() -> Iterator[str]:
    yield "\n## Errors\n"
    yield "The same error in each dialect: OpenAI's `type` and `code`, Anthropic's `type`, Google's `status`.\n"
    yield "| error | HTTP | openai | anthropic-messages | google-generate |"
    yield "|---|---|---|---|---|"
    for kind in _ERRORS:
        error = kind("x")
        openai = msgspec.json.decode(codec("openai-chat").encode_error(error))["error"]
        anthropic = msgspec.json.decode(codec("anthropic-messages").encode_error(error))["error"]
        google = msgspec.json.decode(codec("google-generate").encode_error(error))["error"]
        yield (
            f"| `{kind.__name__}` | {error.status} | `{openai['type']}`, `{openai['code']}` "
            f"| `{anthropic['type']}` | `{google['status']}` |"
        )
