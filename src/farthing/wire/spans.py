"""Replace the value of a JSON body's top-level `model` in place, byte for byte elsewhere."""

from __future__ import annotations

import re

import msgspec

#: A string, a bracket or a comma: all that decides where a top-level key stands.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")


def with_model(body: bytes, model: str) -> bytes:
    """The body with the value of its top-level `model` replaced; unchanged when it has none.

    The body must be valid JSON (the head was read from it). Of several `model` keys the last counts, as
    it does for JSON readers.
    """
    span = _model_span(body)
    if span is None:
        return body
    start, end = span
    return body[:start] + msgspec.json.encode(model) + body[end:]


def _model_span(body: bytes) -> tuple[int, int] | None:
    depth, span, position = 0, None, 0
    while (token := _TOKEN.search(body, position)) is not None:
        position = token.end()
        mark = token.group()
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
        elif depth == 1 and mark == b'"model"':
            colon = _COLON.match(body, position)
            value = _TOKEN.match(body, colon.end()) if colon else None
            if value is not None and value.group().startswith(b'"'):
                span = value.span()
                position = value.end()
    return span
