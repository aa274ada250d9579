"""Laws for any body of Anthropic's and Google's dialects: wire → core → wire → core is the identity."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.errors import BadRequestError
from farthing.wire.dialects.anthropic_messages import CODEC as ANTHROPIC
from farthing.wire.dialects.google_generate import CODEC as GOOGLE

TEXT = st.text(max_size=6)
NAME = st.text(alphabet="abcxyz_", min_size=1, max_size=5)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAME, inner, max_size=2),
    max_leaves=4,
)
OBJECT = st.dictionaries(NAME, VALUE, max_size=3)


def shaped(
    required: dict[str, object], optional: dict[str, object] | None = None
) -> st.SearchStrategy[object]:
    """Objects with these fields, any of the optional ones, and now and then an unknown one."""
    known = st.fixed_dictionaries(
        {name: _strategy(value) for name, value in required.items()},
        optional={name: _strategy(value) for name, value in (optional or {}).items()},
    )
    unknown = st.dictionaries(st.sampled_from(["zzOne", "zzTwo"]), VALUE, max_size=1)
    return st.tuples(known, unknown).map(lambda pair: {**pair[1], **pair[0]})


def _strategy(value: object) -> st.SearchStrategy[object]:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


A_TEXT = shaped({"type": "text", "text": TEXT}, {"cache_control": {"type": "ephemeral"}})
A_IMAGE = shaped(
    {
        "type": "image",
        "source": st.sampled_from(
            [
                {"type": "base64", "media_type": "image/png", "data": "aGk="},
                {"type": "url", "url": "https://example.org/a"},
                {"type": "file", "file_id": "f"},
                {"type": "tomorrow"},
            ]
        ),
    }
)
A_DOCUMENT = shaped(
    {
        "type": "document",
        "source": st.sampled_from(
            [
                {"type": "text", "media_type": "text/plain", "data": "é"},
                {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                {"type": "file", "file_id": "f"},
            ]
        ),
    },
    {"title": TEXT, "context": TEXT},
)
A_CALL = shaped({"type": "tool_use", "id": NAME, "name": NAME, "input": OBJECT})
A_RESULT = shaped(
    {"type": "tool_result", "tool_use_id": NAME},
    {"content": TEXT | st.lists(A_TEXT | A_IMAGE, max_size=2), "is_error": st.booleans()},
)
A_THOUGHT = shaped({"type": "thinking", "thinking": TEXT, "signature": TEXT})
A_SEALED = shaped({"type": "redacted_thinking", "data": TEXT})
A_OTHER = shaped({"type": st.sampled_from(["server_tool_use", "tomorrow"])}, {"input": OBJECT})
A_USER = st.lists(A_TEXT | A_IMAGE | A_DOCUMENT | A_RESULT | A_OTHER, max_size=4)
A_SAID = st.lists(A_TEXT | A_CALL | A_THOUGHT | A_SEALED | A_OTHER, max_size=4)
A_TURN = shaped({"role": "user", "content": TEXT | A_USER}) | shaped(
    {"role": "assistant", "content": TEXT | A_SAID}
)
A_BODY = shaped(
    {"model": TEXT, "max_tokens": st.integers(1, 9), "messages": st.lists(A_TURN, max_size=4)},
    {
        "system": TEXT | st.lists(A_TEXT, max_size=2),
        "tools": st.lists(
            shaped({"name": NAME, "input_schema": OBJECT}, {"type": "custom", "description": TEXT})
            | shaped({"name": NAME, "type": "bash_20250124"}),
            max_size=2,
        ),
        "tool_choice": shaped(
            {"type": st.sampled_from(["auto", "any", "none"])},
            {"disable_parallel_tool_use": st.booleans()},
        ),
        "thinking": st.sampled_from(["adaptive", "disabled"]).flatmap(
            lambda kind: shaped({"type": kind})
        )
        | shaped({"type": "enabled", "budget_tokens": st.integers(1024, 9999)}),
        "output_config": shaped(
            {}, {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
        ),
        "metadata": shaped({}, {"user_id": TEXT}),
        "stop_sequences": st.lists(TEXT, max_size=2),
        "stream": st.booleans(),
        "temperature": st.sampled_from([0, 0.5, 1.0]),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
    },
)

G_LEAF = shaped({"text": TEXT}, {"thought": st.booleans(), "thoughtSignature": "c2ln"})
G_BLOB = shaped(
    {
        "inlineData": shaped(
            {
                "mimeType": st.sampled_from(["image/png", "audio/mpeg", "audio/ogg", "text/plain"]),
                "data": "aGk=",
            },
            {"displayName": TEXT},
        )
    },
    {"videoMetadata": OBJECT},
)
G_FILE = shaped(
    {
        "fileData": shaped(
            {
                "fileUri": st.sampled_from(
                    ["gs://a/b", "https://example.org/a.png", "https://example.org/b"]
                )
            },
            {"mimeType": st.sampled_from(["image/png", "video/mp4"])},
        )
    }
)
G_CALL = shaped(
    {"functionCall": shaped({"name": NAME}, {"id": NAME, "args": OBJECT})},
    {"thoughtSignature": "c2ln"},
)
G_RESULT = shaped(
    {
        "functionResponse": shaped(
            {"name": NAME, "response": OBJECT}, {"id": NAME, "parts": st.lists(G_BLOB)}
        )
    }
)
G_OTHER = shaped({"executableCode": OBJECT})
G_TURN = shaped(
    {"role": "user", "parts": st.lists(G_LEAF | G_BLOB | G_FILE | G_RESULT, max_size=4)}
) | shaped({"role": "model", "parts": st.lists(G_LEAF | G_CALL | G_OTHER, max_size=4)})
G_BODY = shaped(
    {"contents": st.lists(G_TURN, max_size=4)},
    {
        "systemInstruction": shaped({"parts": st.lists(G_LEAF, max_size=2)}),
        "tools": st.lists(
            shaped(
                {},
                {
                    "functionDeclarations": st.just(
                        [{"name": "f", "parameters": {"type": "OBJECT"}}]
                    )
                },
            )
            | st.just({"googleSearch": {}}),
            max_size=2,
        ),
        "toolConfig": shaped(
            {},
            {
                "functionCallingConfig": shaped(
                    {},
                    {
                        "mode": st.sampled_from(["AUTO", "ANY", "NONE", "VALIDATED"]),
                        "allowedFunctionNames": st.lists(NAME, max_size=2),
                    },
                )
            },
        ),
        "generationConfig": shaped(
            {},
            {
                "temperature": st.sampled_from([0, 1.5]),
                "candidateCount": st.integers(1, 3),
                "stopSequences": st.lists(TEXT, max_size=2),
                "responseMimeType": st.sampled_from(
                    ["text/plain", "application/json", "text/x.enum"]
                ),
                "responseSchema": {"type": "STRING", "enum": ["a"]},
                "thinkingConfig": shaped({}, {"thinkingBudget": 5, "thinkingLevel": "LOW"}),
                "responseModalities": ["TEXT"],
            },
        ),
        "safetySettings": st.just([]),
        "serviceTier": "flex",
    },
)


class TestIdentity:
    @settings(max_examples=60, deadline=None)
    @given(A_BODY)
    def test_any_anthropic_request_survives(self, body: object) -> None:
        request = ANTHROPIC.decode_request(msgspec.json.encode(body))
        encoded = ANTHROPIC.encode_request(request)
        assert encoded.dropped == ()
        assert ANTHROPIC.decode_request(encoded.body) == request

    @settings(max_examples=60, deadline=None)
    @given(G_BODY)
    def test_any_google_request_survives(self, body: object) -> None:
        request = GOOGLE.decode_request(msgspec.json.encode(body))
        encoded = GOOGLE.encode_request(request)
        assert encoded.dropped == ()
        assert GOOGLE.decode_request(encoded.body) == request

    @settings(max_examples=40, deadline=None)
    @given(st.one_of(A_BODY, G_BODY, VALUE), st.sampled_from([ANTHROPIC, GOOGLE]), NAME, VALUE)
    def test_a_strange_body_is_read_or_refused_never_a_crash(
        self, body: object, codec: object, name: str, value: object
    ) -> None:
        assert codec in (ANTHROPIC, GOOGLE)
        chosen = ANTHROPIC if codec is ANTHROPIC else GOOGLE
        if isinstance(body, dict):
            body = {**body, name: value, "messages": body.get("messages", value), "contents": value}
        wire = msgspec.json.encode(body)
        for read in (chosen.head, chosen.decode_request):
            try:
                read(wire)
            except BadRequestError as error:
                assert str(error)

    @pytest.mark.parametrize("codec", [ANTHROPIC, GOOGLE], ids=lambda c: str(c.name))
    def test_deep_nesting_is_refused_not_a_crash(self, codec: object) -> None:
        chosen = ANTHROPIC if codec is ANTHROPIC else GOOGLE
        deep = b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b',"contents":[]}'
        with pytest.raises(BadRequestError):
            chosen.decode_request(deep)
