"""The top-level `model` is replaced, every one of it, and no other byte changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.wire.spans import put_model, with_model

WORDS = st.sampled_from(["model", 'say "model"', "mo\\del", "\\", "é\u2028", "", "messages"])
VALUES = st.recursive(
    st.one_of(WORDS, st.integers(), st.none(), st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)


class TestWithModel:
    @given(st.dictionaries(WORDS, VALUES, max_size=4), st.text(max_size=8), st.booleans())
    def test_the_meaning_of_every_other_field_stays(
        self, fields: dict[str, object], model: str, is_ascii: bool
    ) -> None:
        body = json.dumps({**fields, "model": "old"}, ensure_ascii=is_ascii, indent=1).encode()
        assert json.loads(with_model(body, model)) == {**fields, "model": model}

    @given(VALUES, VALUES)
    def test_the_bytes_around_the_value_stay(self, before: object, after: object) -> None:
        start = b'{ "a":' + json.dumps(before).encode() + b', "model"\n: '
        end = b'\t, "b":' + json.dumps(after).encode() + b"}\r\n"
        assert with_model(start + b'"old \\" one"' + end, "new") == start + b'"new"' + end

    @pytest.mark.parametrize(
        "keys",
        [
            (b'"model"', b'"model"'),
            (b'"model"', b'"mod\\u0065l"'),
            (b'"\\u006d\\u006f\\u0064\\u0065\\u006c"', b'"x"'),
        ],
    )
    def test_no_second_spelling_of_the_key_smuggles_another_model(
        self, keys: tuple[bytes, bytes]
    ) -> None:
        body = with_model(b'{%b:"dear",%b:"cheap"}' % keys, "new")
        pairs = json.loads(body, object_pairs_hook=list)
        assert [value for key, value in pairs if key == "model"] == ["new"] * (
            1 if keys[1] == b'"x"' else 2
        )

    @pytest.mark.parametrize(
        "body",
        [
            b'{"x":{"model":"a"}}',
            b'{"x":"model"}',
            b'{"model":null}',
            b'["model"]',
            b"",
            b'{"model',
        ],
    )
    def test_a_body_without_a_top_level_model_is_left_alone(self, body: bytes) -> None:
        assert with_model(body, "new") == body


class TestPutModel:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"model":"a","x":1}', b'{"model":"new","x":1}'),
            (b'{"x":1, "model": null}', b'{"x":1, "model": "new"}'),
            (b' {"x":{"model":null}}', b'{"model":"new","x":{"model":null}}'),
            (b"{ }", b'{"model":"new" }'),
            (b"[{}]", b"[{}]"),
            (b"", b""),
        ],
    )
    def test_a_model_is_replaced_or_comes_first(self, body: bytes, expected: bytes) -> None:
        assert put_model(body, "new") == expected

    @given(st.dictionaries(WORDS, VALUES, max_size=4), st.text(max_size=8))
    def test_the_meaning_of_every_other_field_stays(
        self, fields: dict[str, object], model: str
    ) -> None:
        fields = {name: value for name, value in fields.items() if name != "model"}
        assert json.loads(put_model(json.dumps(fields).encode(), model)) == {
            **fields,
            "model": model,
        }
