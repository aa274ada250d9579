"""Requests that are wrong, and the three parts of what their senders must be told."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec

USER = {"role": "user", "content": "Hi"}
CHAT = {"model": "sim/gpt", "messages": [USER]}
ABROAD = {**CHAT, "model": "sim/claude"}  # OpenAI's dialect to Anthropic's
RESPONSE = {"model": "sim/gpt", "input": "Hi"}
EMBEDDING = {"model": "sim/vectors", "input": "Hi"}
MESSAGE = {"model": "sim/claude", "max_tokens": 10, "messages": [USER]}
CONTENT = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}

CHAT_PATH = "/v1/chat/completions"
RESPONSES_PATH = "/v1/responses"
EMBEDDINGS_PATH = "/v1/embeddings"
MESSAGES_PATH = "/v1/messages"
GOOGLE_PATH = "/v1beta/models/sim/gemini:generateContent"
GOOGLE_ABROAD = "/v1beta/models/sim/gpt:generateContent"
AZURE_PATH = "/openai/deployments/sim/gpt/chat/completions"

DEEP = b'{"model": "sim/gpt", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NO_LENGTH = b"no length"


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong request.

    did: what its sender did, as the page says it. parts: what happened, to what, what to do next; each must
    stand in the message. key: by what is wrong with it, `=TEXT` for a secret written out, None for none.
    status 0: the connection's own refusal, plain text.
    """

    did: str
    status: int
    parts: tuple[str, str, str]
    face: str = "openai"
    method: str = "POST"
    path: str = CHAT_PATH
    body: bytes | None = None
    key: str | None = "good"
    headers: dict[str, str] = {}

    def data(self) -> io.BytesIO | AsyncIterator[bytes] | None:
        """The body to send; one that must not state its length comes in chunks."""
        if self.body == NO_LENGTH:
            return _chunks()
        return None if self.body is None else io.BytesIO(self.body)


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(52):
        yield b" " * 1_000_000


TABLE: list[Mistake] = []


def _add(
    did: str,
    status: int,
    *parts: str,
    json_body: Any = None,
    body: bytes | None = None,
    **more: Any,
) -> None:
    if json_body is not None:
        body = json.dumps(json_body).encode()
    happened, subject, advice = parts
    TABLE.append(
        Mistake(did=did, status=status, parts=(happened, subject, advice), body=body, **more)
    )


def _everywhere(did: str, status: int, *parts: str, body: bytes) -> None:
    for path, face in (
        (CHAT_PATH, "openai"),
        (MESSAGES_PATH, "anthropic"),
        (GOOGLE_PATH, "google"),
    ):
        _add(f"{did} ({face})", status, *parts, body=body, path=path, face=face)


# ── The body as such ─────────────────────────────────────────────────────────────────────────

_everywhere("sent an empty body", 400, "is empty", "The body", "Send one JSON object", body=b"")
_everywhere("sent an array", 400, "it is an array", "The body", "Send an object", body=b"[]")
_everywhere(
    "nested 100,000 brackets", 400, "nested too deeply", "The body", "Flatten it", body=DEEP
)
_add(
    "cut the JSON off",
    400,
    "it ends too early (byte 34)",
    "The body",
    "Correct it there",
    body=b'{"model": "sim/gpt", "messages": [',
)
_add(
    "left a trailing comma",
    400,
    "trailing comma in object (byte 36)",
    "The body",
    "Correct it there",
    body=b'{"model": "sim/gpt", "messages": [],}',
)
_add(
    "wrote NaN",
    400,
    "invalid character (byte 36)",
    "The body",
    "Correct it there",
    body=b'{"model": "sim/gpt", "temperature": NaN, "messages": []}',
)
_add(
    "sent a form instead of JSON",
    400,
    "not valid JSON",
    "The body",
    "let a JSON library write it",
    body=b"model=sim/gpt&prompt=Hi",
    headers={"content-type": "application/x-www-form-urlencoded"},
)
_add(
    "sent bytes that are not UTF-8",
    400,
    "is not UTF-8 text (byte 60)",
    "The body",
    "Encode it as UTF-8",
    body=b'{"model": "sim/gpt", "messages": [{"role":"user","content":"\xff\xfe"}]}',
)
_add(
    "sent UTF-16",
    400,
    "begins with a byte order mark",
    "The body",
    "Send it as UTF-8 without one",
    body='{"model": "sim/gpt"}'.encode("utf-16"),
)
_add(
    "escaped half of a surrogate pair",
    400,
    "half of a surrogate pair (byte 60)",
    "The body",
    "as a whole pair",
    body=b'{"model": "sim/gpt", "messages": [{"role":"user","content":"\\ud800"}]}',
)
_add(
    "wrote a number beyond every range",
    400,
    "a number out of range",
    "'temperature'",
    "Send a smaller one",
    body=b'{"model": "sim/gpt", "messages": [{"role":"user","content":"x"}], "temperature": 1e999}',
)
_add(
    "sent 52 MB, stated beforehand",
    413,
    "larger than",
    "body",
    "server.max_body_mb",
    body=b" " * 52_000_000,
)
_add(
    "sent 52 MB in chunks",
    413,
    "larger than",
    "body",
    "server.max_body_mb",
    face="anthropic",
    path=MESSAGES_PATH,
    body=NO_LENGTH,
)
_add(
    "compressed the body",
    415,
    "is compressed (gzip)",
    "The body",
    "Send it without Content-Encoding",
    body=b"x",
    headers={"content-encoding": "gzip"},
)

# ── Fields ───────────────────────────────────────────────────────────────────────────────────

_add("named no model", 400, "names no model", "The request", "Add", json_body={"messages": [USER]})
_add(
    "named a number as the model",
    400,
    "it is a whole number",
    "'model'",
    "Send text",
    json_body={**CHAT, "model": 5},
)
_add(
    "left the messages out",
    400,
    "is missing",
    "'messages'",
    "Add it to the body",
    json_body={"model": "sim/gpt"},
)
_add(
    "sent text as messages",
    400,
    "it is text",
    "'messages'",
    "Send an array",
    json_body={**CHAT, "messages": "Hi"},
)
_add(
    "sent the word yes as stream",
    400,
    "it is text",
    "'stream'",
    "Send true or false, or leave it out",
    json_body={**CHAT, "stream": "yes"},
)
_add(
    "sent a word as temperature",
    400,
    "it is text",
    "'temperature'",
    "Send a number, or leave it out",
    json_body={**CHAT, "temperature": "warm"},
)
_add(
    "sent a word as max_tokens (anthropic)",
    400,
    "it is text",
    "'max_tokens'",
    "Send a whole number",
    json_body={**MESSAGE, "max_tokens": "many"},
    path=MESSAGES_PATH,
    face="anthropic",
)
_add(
    "left the messages out (anthropic)",
    400,
    "is missing",
    "'messages'",
    "Add it to the body",
    json_body={"model": "sim/claude", "max_tokens": 5},
    path=MESSAGES_PATH,
    face="anthropic",
)
_add(
    "sent text as contents (google)",
    400,
    "it is text",
    "'contents'",
    "Send an array",
    json_body={"contents": "Hi"},
    path=GOOGLE_PATH,
    face="google",
)
_add(
    "left the contents out (google)",
    400,
    "is missing",
    "'contents'",
    "Add it to the body",
    json_body={},
    path=GOOGLE_PATH,
    face="google",
)
_add(
    "sent a word as temperature (google)",
    400,
    "it is text",
    "'generationConfig.temperature'",
    "Send a number",
    json_body={**CONTENT, "generationConfig": {"temperature": "warm"}},
    path=GOOGLE_ABROAD,
    face="google",
)
_add(
    "sent a number as input (responses)",
    400,
    "it is a whole number",
    "'input'",
    "Send ",
    json_body={**RESPONSE, "input": 5},
    path=RESPONSES_PATH,
)
_add(
    "left the input out (embeddings)",
    400,
    "is missing",
    "'input'",
    "Add it to the body",
    json_body={"model": "sim/vectors"},
    path=EMBEDDINGS_PATH,
)
_add(
    "asked for vectors of a negative length",
    400,
    "The field",
    "'dimensions'",
    "must be at least 1",
    json_body={**EMBEDDING, "dimensions": -1},
    path=EMBEDDINGS_PATH,
)
_add(
    "asked for a negative number of tokens",
    400,
    "rejected the request",
    "field 'max_tokens'",
    "Compare it with the vendor's reference",
    json_body={**CHAT, "max_tokens": -1},
)
_add(
    "gave a message no role, for another vendor",
    400,
    "is missing",
    "'messages[0].role'",
    "Add it to the body",
    json_body={**ABROAD, "messages": [{"content": "Hi"}]},
)
_add(
    "gave a message an unknown role, for another vendor",
    400,
    "The field",
    "'messages[0].role'",
    "must be one of system",
    json_body={**ABROAD, "messages": [{"role": "wizard", "content": "Hi"}]},
)

# ── What a vendor cannot do ──────────────────────────────────────────────────────────────────

_add(
    "asked Anthropic for two answers",
    400,
    "cannot be kept",
    "'n'",
    "Make several calls",
    json_body={**ABROAD, "n": 2},
)
_add(
    "asked Anthropic for log probabilities",
    400,
    "cannot be kept",
    "'logprobs'",
    "Choose a model",
    json_body={**ABROAD, "logprobs": True},
)
_add(
    "asked Anthropic for speech",
    400,
    "no equivalent in anthropic-messages",
    "'modalities'",
    "Remove it",
    json_body={**ABROAD, "modalities": ["text", "audio"], "audio": {"voice": "alloy"}},
)
_add(
    "sent a content part of an unknown kind abroad",
    400,
    "no equivalent in anthropic-messages",
    "'messages[0].content[0]'",
    "Remove it",
    json_body={**ABROAD, "messages": [{"role": "user", "content": [{"type": "smell"}]}]},
)
_add(
    "used a vendor's cached content elsewhere (google)",
    400,
    "no equivalent in openai-chat",
    "'cachedContent'",
    "Remove it",
    json_body={**CONTENT, "cachedContent": "cachedContents/x"},
    path=GOOGLE_ABROAD,
    face="google",
)
_add(
    "gave an OpenAI model a vendor's tool server (anthropic)",
    400,
    "no equivalent in openai-chat",
    "'mcp_servers'",
    "Remove it",
    json_body={**MESSAGE, "model": "sim/gpt", "mcp_servers": [{"type": "url", "name": "x"}]},
    path=MESSAGES_PATH,
    face="anthropic",
)
_add(
    "chatted with an embedding model",
    400,
    "embeds texts",
    "'sim/vectors'",
    "`farthing models`",
    json_body={**CHAT, "model": "sim/vectors"},
)
_add(
    "embedded with a chat model",
    400,
    "answers chats",
    "'sim/gpt'",
    "`farthing models`",
    json_body={**EMBEDDING, "model": "sim/gpt"},
    path=EMBEDDINGS_PATH,
)

# ── Models, contexts, prices, vendors ────────────────────────────────────────────────────────

_add(
    "misspelled the model",
    404,
    "There is no model",
    "'sim/gtp'",
    "Did you mean 'sim/gpt'",
    json_body={**CHAT, "model": "sim/gtp"},
)
_add(
    "misspelled the model (google)",
    404,
    "There is no model",
    "'sim/gemeni'",
    "Did you mean 'sim/gemini'",
    json_body=CONTENT,
    path="/v1beta/models/sim/gemeni:generateContent",
    face="google",
)
_add(
    "misspelled the method (google)",
    404,
    "There is no method",
    "':generateContents'",
    "Did you mean 'generateContent'",
    json_body=CONTENT,
    path=GOOGLE_PATH + "s",
    face="google",
)
_add(
    "misspelled the deployment (azure)",
    404,
    "There is no model",
    "'sim/gqt'",
    "Did you mean 'sim/gpt'",
    json_body=CHAT,
    path=AZURE_PATH.replace("gpt", "gqt") + "?api-version=2024-10-21",
    face="azure",
)
_add(
    "named no API version (azure)",
    400,
    "is missing",
    "api-version",
    "Add one such as",
    json_body=CHAT,
    path=AZURE_PATH,
    face="azure",
)
_add(
    "named a word as API version (azure)",
    400,
    "not a version",
    "api-version",
    "Add one such as",
    json_body=CHAT,
    path=AZURE_PATH + "?api-version=soon",
    face="azure",
)
_add(
    "asked about a model that is not there",
    404,
    "There is no model",
    "'sim/gptt'",
    "Did you mean",
    method="GET",
    path="/v1/models/sim/gptt",
)
_add(
    "sent more than the model takes",
    400,
    "at least",
    "'short' takes 100",
    "Shorten the input",
    json_body={**CHAT, "model": "short", "messages": [{"role": "user", "content": "word " * 999}]},
)
_add(
    "called a model whose price nobody knows",
    400,
    "is not known",
    "'priceless'",
    "State it in farthing.toml",
    json_body={**CHAT, "model": "priceless"},
)
_add(
    "called a vendor whose key is not set",
    502,
    "has no key",
    "'unset'",
    "export MY_OPENAI_KEY=",
    json_body={**CHAT, "model": "no-vendor-key"},
)
_add(
    "called a vendor that refuses the gateway's key",
    502,
    "rejected the key",
    "'refusing'",
    "The operator should check",
    json_body={**CHAT, "model": "refused-by-vendor"},
)

# ── Keys and money ───────────────────────────────────────────────────────────────────────────

_add("sent no key", 401, "none was sent", "API key", "Send the key", json_body=CHAT, key=None)
_add(
    "sent no key (anthropic)",
    401,
    "none was sent",
    "API key",
    "Send the key",
    json_body=MESSAGE,
    path=MESSAGES_PATH,
    face="anthropic",
    key=None,
)
_add(
    "sent a vendor's key",
    401,
    "is not known here",
    "This API key",
    "`farthing keys create`",
    json_body=CHAT,
    key="=sk-proj-of-a-vendor",
)
_add(
    "sent a wrong ?key= (google)",
    401,
    "is not known here",
    "This API key",
    "`farthing keys create`",
    json_body=CONTENT,
    path=GOOGLE_PATH + "?key=wrong",
    face="google",
    key=None,
)
_add(
    "sent an expired key",
    401,
    "has expired",
    "'expired'",
    "Ask its administrator",
    json_body=CHAT,
    key="expired",
)
_add(
    "sent a revoked key",
    401,
    "was revoked",
    "'revoked'",
    "Ask its administrator",
    json_body=CHAT,
    key="revoked",
)
_add(
    "called a model that the key may not call",
    403,
    "may not call 'sim/gemini'",
    "'one-model'",
    "It may call: sim/gpt",
    json_body={**CHAT, "model": "sim/gemini"},
    key="one model",
)
_add(
    "used an API that the key may not use",
    403,
    "may not use the openai API",
    "'one-face'",
    "It may use: anthropic",
    json_body=CHAT,
    key="one face",
)
_add(
    "asked for more than the budget has left",
    402,
    "has $0.000001 left",
    "'pocket-money'",
    "raise the budget with",
    json_body=CHAT,
    key="poor",
)

# ── Methods, paths, headers ──────────────────────────────────────────────────────────────────

_add("used GET", 405, "GET is not offered", CHAT_PATH, "Use POST", method="GET")
_add("used DELETE", 405, "DELETE", "/v1/models", "Use GET", method="DELETE", path="/v1/models")
_add(
    "misspelled the path",
    404,
    "There is no",
    "/v1/chat/completion ",
    "Did you mean '/v1/chat/completions'",
    json_body=CHAT,
    path="/v1/chat/completion",
)
_add(
    "doubled the path's prefix",
    404,
    "There is no",
    "/v1/v1/chat/completions",
    "Did you mean '/v1/chat/completions'",
    json_body=CHAT,
    path="/v1/v1/chat/completions",
)
_add(
    "misspelled the path (anthropic)",
    404,
    "There is no",
    "/v1/message ",
    "Did you mean '/v1/messages'",
    json_body=MESSAGE,
    path="/v1/message",
    face="anthropic",
    headers={"anthropic-version": "2023-06-01"},
)
_add(
    "asked for what is not offered",
    404,
    "There is no",
    "/v1/audio/speech",
    "GET /admin/openapi.json",
    json_body={},
    path="/v1/audio/speech",
)
for _did, _headers, _name, _advice in (
    ("sent 21 tags", {"x-farthing-tags": ",".join(map(str, range(21)))}, "tags", "at most 20"),
    ("sent a tag of 65 letters", {"x-farthing-tags": "a" * 65}, "tags", "at most 64"),
    ("sent a cache wish that is none", {"x-farthing-cache": "maybe"}, "cache", "Send on, off"),
    ("sent an Idempotency-Key of 256 letters", {"idempotency-key": "k" * 256}, "", "at most 255"),
    ("sent an Idempotency-Key with a tab", {"idempotency-key": "a\tb"}, "", "printable ASCII"),
    ("sent a session with an accent", {"x-farthing-session": "\u00e9"}, "", "printable ASCII"),
):
    _subject = next(iter(_headers))
    _happened = "unknown value" if _name == "cache" else "cannot be read"
    _add(_did, 400, _happened, _subject, _advice, json_body=CHAT, headers=_headers)

# ── The admin API ────────────────────────────────────────────────────────────────────────────

_KEYS: dict[str, Any] = {"path": "/admin/keys", "face": "admin", "key": "admin"}
_BUDGET: dict[str, Any] = {
    "path": "/admin/budgets/b",
    "face": "admin",
    "key": "admin",
    "method": "PUT",
}

_add(
    "listed keys with a caller's key",
    403,
    "has the role 'caller'",
    "This key",
    "--role viewer",
    method="GET",
    **{**_KEYS, "key": "good"},
)
_add(
    "made a key with a viewer's key",
    403,
    "has the role 'viewer'",
    "This key",
    "--role admin",
    json_body={"name": "x"},
    **{**_KEYS, "key": "viewer"},
)
_add(
    "made a key with a name that is taken",
    409,
    "exists",
    "'good'",
    "Choose another name",
    json_body={"name": "good"},
    **_KEYS,
)
_add(
    "misspelled a field of a key",
    400,
    "There is no field",
    "'modles'",
    "Correct or remove it",
    json_body={"name": "x", "modles": []},
    **_KEYS,
)
_add(
    "gave a key a role that does not exist",
    400,
    "unknown value",
    "'role'",
    "Send one that",
    json_body={"name": "x", "role": "king"},
    **_KEYS,
)
_add(
    "revoked a key that is not there",
    404,
    "There is no key",
    "'god'",
    "Did you mean 'good'",
    **{**_KEYS, "path": "/admin/keys/god", "method": "DELETE"},
)
_add(
    "set a budget of lots",
    400,
    "is not an amount",
    "'dollars'",
    "write it like",
    json_body={"dollars": "lots"},
    **_BUDGET,
)
_add(
    "set a budget beyond all money",
    400,
    "more than a billion dollars",
    "'dollars'",
    "write a smaller amount",
    json_body={"dollars": "9" * 30},
    **_BUDGET,
)
_add(
    "confirmed a call that holds nothing",
    404,
    "No money is held",
    "'call_x'",
    "`farthing spend --unsettled`",
    json_body={"dollars": "1"},
    **{**_KEYS, "path": "/admin/unsettled/call_x/confirm"},
)
_add(
    "asked for spend by colour",
    400,
    "unknown value",
    "parameter by",
    "Use one of key",
    **{**_KEYS, "path": "/admin/spend?by=colour", "method": "GET"},
)
_add(
    "asked for spend since yesterday",
    400,
    "is no time",
    "parameter since",
    "Use a date such as",
    **{**_KEYS, "path": "/admin/spend?since=yesterday", "method": "GET"},
)
_add(
    "reloaded without a settings file",
    409,
    "started without a settings file",
    "This gateway",
    "`farthing config init`",
    **{**_KEYS, "path": "/admin/reload"},
)
