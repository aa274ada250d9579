"""Ask a vendor for usage in its stream, by inserting a few bytes into the request."""

from __future__ import annotations

import re

import msgspec

#: Dialects whose streams tell usage only when `stream_options.include_usage` is set.
OPTED_DIALECTS = frozenset({"openai-chat", "openai-completions"})

_INCLUDE = b'"stream_options":{"include_usage":true}'
#: Possessive, so that a long string (an inline image) is crossed once, without a stack entry per byte.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TOKEN = re.compile(_STRING.pattern + rb"|[{}\[\]]", re.DOTALL)


class _Options(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    stream_options: msgspec.Raw = msgspec.Raw()  # empty: absent


def with_usage(body: bytes, dialect: str) -> bytes:
    """The same body, with `stream_options.include_usage` set to true and no other byte changed.

    Bodies of other dialects, bodies that ask already, and bodies that are no JSON object come back as they
    are (the provider then says what is wrong with them). Costs one typed pass when the field is absent.
    """
    if dialect not in OPTED_DIALECTS:
        return body
    try:
        present = bytes(msgspec.json.decode(body, type=_Body).stream_options)
    except msgspec.DecodeError:
        return body
    if present in (b"", b"null"):
        # Absent, or null: a repeated key is legal JSON and the last one counts, but not every parser
        # agrees, so an explicit null is replaced rather than followed.
        span = _member_span(body, b"stream_options") if b"stream_options" in body else None
        if span is not None:
            return body[: span[0]] + b'{"include_usage":true}' + body[span[1] :]
        return _inserted(body)
    return _with_option(body, present)


def _inserted(body: bytes) -> bytes:
    start = body.index(b"{") + 1
    rest = body[start:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return body[:start] + _INCLUDE + comma + body[start:]


def _with_option(body: bytes, options: bytes) -> bytes:
    try:
        if msgspec.json.decode(options, type=_Options).include_usage:
            return body
        members = msgspec.json.decode(options, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return body
    members["include_usage"] = msgspec.Raw(b"true")
    span = _member_span(body, b"stream_options")
    if span is None:
        return body
    return body[: span[0]] + msgspec.json.encode(members) + body[span[1] :]


def _member_span(body: bytes, name: bytes) -> tuple[int, int] | None:
    """Start and end of the value of the top-level member `name` (spelled without escapes)."""
    depth = 0
    for token in _TOKEN.finditer(body):
        text = token.group()
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"' + name + b'"':
            colon = re.compile(rb"\s*:\s*").match(body, token.end())
            if colon is not None:
                return colon.end(), _value_end(body, colon.end())
    return None


def _value_end(body: bytes, start: int) -> int:
    if body[start : start + 1] not in (b"{", b"["):
        scalar = _STRING.match(body, start) or re.compile(rb"[^\s,}\]]+").match(body, start)
        return scalar.end() if scalar else start
    depth = 0
    for token in _TOKEN.finditer(body, start):
        if token.group() in b"{[":
            depth += 1
        elif token.group() in b"}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return start
