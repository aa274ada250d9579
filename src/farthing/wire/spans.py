"""Replace or add a JSON body's top-level `model` in place, byte for byte elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

#: A string or a bracket: all that decides where a top-level key stands. The possessive quantifiers keep
#: the scan linear whatever the string holds (an inline image as well).
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_QUOTE, _OPENING = ord('"'), frozenset(b"{[")
_KEY = b'"model"'
_VALUE = re.compile(rb'"model"\s*:\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")', re.DOTALL)


class _Body(msgspec.Struct):
    model: str | None = None


_BODY = msgspec.json.Decoder(_Body)


def with_model(body: bytes, model: str) -> bytes:
    """The body with the value of its top-level `model` replaced; unchanged when it has none.

    The body must be valid JSON (the head was read from it). Readers of JSON disagree on which of several
    `model` keys counts, and a key may be written with escapes; every one of them is replaced, so that no
    provider serves another model than the one that was authorized.
    """
    value = msgspec.json.encode(model)
    pieces: list[bytes] = []
    kept = 0
    only = _only_span(body)
    for start, end in _model_spans(body) if only is None else (only,):
        pieces += (body[kept:start], value)
        kept = end
    return b"".join((*pieces, body[kept:])) if pieces else body


def model_span(body: bytes, bulk: bytes) -> tuple[int, int] | None:
    """Where the value of the only top-level `model` stands, or None when a scan must tell.

    body: valid JSON with a top-level model. bulk: the bytes of another top-level value (the messages),
    which nearly all of the body is and which is not looked into: what stands in it is not top-level.
    """
    at = body.find(bulk[:16])
    if at < 0 or not body.startswith(bulk, at):
        return None
    size = len(bulk)
    rest = body[:at] + body[at + size :]
    if rest.count(_KEY) != 1 or rest.find(b"\\u") >= 0:
        return None  # letters are escaped as `\u00..` only
    value = _VALUE.search(rest)
    if value is None:
        return None
    start, end = value.span(1)
    if end <= at:
        return start, end
    return None if start < at else (start + size, end + size)


def put_model(body: bytes, model: str) -> bytes:
    """As `with_model`, and for a body that has no model, or null, that one comes first.

    Bytes that are no JSON object stay so.
    """
    value = msgspec.json.encode(model)
    pieces: list[bytes] = []
    kept = 0
    for start, end in _model_spans(body, null=True):
        pieces += (body[kept:start], value)
        kept = end
    if pieces:
        return b"".join((*pieces, body[kept:]))
    inside = body.lstrip()[1:]
    if not body.lstrip().startswith(b"{"):
        return body
    comma = b"" if inside.lstrip().startswith(b"}") else b","
    return b'{"model":' + value + comma + inside


def _only_span(body: bytes) -> tuple[int, int] | None:
    """The span, found without a scan in Python, when the key stands only once and unescaped.

    Letters are escaped as `\\u00..` only. So if there is no such escape, a body that has a top-level
    model and in which `"model"` stands once has it there.
    """
    if body.count(_KEY) != 1 or body.find(b"\\u00") >= 0 or not _has_model(body):
        return None
    colon = _COLON.match(body, body.index(_KEY) + len(_KEY))
    value = _STRING.match(body, colon.end()) if colon else None
    return value.span() if value else None


def _has_model(body: bytes) -> bool:
    try:
        return _BODY.decode(body).model is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False  # not a body whose head was read; the scan leaves alone what it cannot place


def _model_spans(body: bytes, *, null: bool = False) -> Iterator[tuple[int, int]]:
    depth, awaited = 0, -1
    for token in _TOKEN.finditer(body):
        start = token.start()
        mark = body[start]
        if mark == _QUOTE:
            if depth != 1:
                continue
            if start == awaited:
                yield token.span()
            elif _is_model(token.group()) and (colon := _COLON.match(body, token.end())):
                awaited = colon.end()
                if null and body.startswith(b"null", awaited):
                    yield awaited, awaited + len(b"null")
        else:
            depth += 1 if mark in _OPENING else -1


def _is_model(string: bytes) -> bool:
    if b"\\" not in string:
        return string == _KEY
    # Six characters at most for each of the five letters and two quotes: a longer text is no such key.
    return len(string) <= 32 and msgspec.json.decode(string) == "model"
