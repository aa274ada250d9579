"""The shape of a text: how many of what kind of byte and of boundary it has.

One table maps each byte of the UTF-8 text to a class, then `bytes.count` counts classes and short
patterns of classes. Both run in C; a regular expression that walks the words takes as long as tokenising them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPED = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")


def _table() -> bytes:
    classes = bytearray(b"p" * 256)
    ranges = {
        "n": (9, 13),
        "s": (32, 32),
        "0": (48, 57),
        "A": (65, 90),
        "a": (97, 122),
        "c": (0x80, 0xBF),  # continuation of a character
        "L": (0xC2, 0xCD),  # Latin with accents
        "Y": (0xCE, 0xD4),  # Greek, Cyrillic
        "R": (0xD5, 0xDF),  # Armenian, Hebrew, Arabic
        "I": (0xE0, 0xE1),  # Indic scripts, Thai, Georgian
        "P": (0xE2, 0xE2),  # typographic punctuation, arrows, boxes
        "K": (0xE3, 0xE3),  # kana, CJK punctuation
        "H": (0xE4, 0xE9),  # Han
        "O": (0xEA, 0xEE),  # Hangul
        "M": (0xEF, 0xEF),  # full-width forms
        "E": (0xF0, 0xFF),  # emoji, rare scripts
    }
    for name, (first, last) in ranges.items():
        for byte in range(first, last + 1):
            classes[byte] = ord(name)
    return bytes(classes)


_CLASSES = _table()

#: Patterns of classes that the calibration may weigh.
PATTERNS: tuple[bytes, ...] = (
    *(b"sa", b"sA", b"na", b"nA", b"pa", b"pA", b"aA", b"AA", b"0a", b"a0"),
    *(b"aaa", b"aaaaa", b"aaaaaaaa", b"AAA", b"a", b"A"),
    *(b"0", b"000", b"s0"),
    *(b"p", b"pp", b"ppp", b"sp", b"pn", b"ps"),
    *(b"n", b"nn", b"ss", b"ssss", b"ns"),
    *(b"L", b"aL", b"ca", b"Y", b"sY", b"YcYcYcYcYc", b"R", b"sR", b"RcRcRcRc"),
    *(b"I", b"sI", b"IccIccIcc", b"P", b"K", b"KccKcc", b"H", b"HccHcc", b"O", b"sO", b"M", b"E"),
)


def weigh(data: bytes, weights: Mapping[bytes, float]) -> float:
    """The sum of `weights`, each as often as its pattern occurs (without overlap) in UTF-8 text."""
    count = data.translate(_CLASSES).count
    return sum([count(pattern) * weight for pattern, weight in weights.items()])


def unescaped(body: bytes) -> bytes:
    r"""A JSON body with its escapes (`\n`, `\"`, `\u4f60`) as the characters that a tokeniser sees."""
    if b"\\" not in body:
        return body
    body = body.replace(b"\\n", b"\n").replace(b'\\"', b'"')
    if b"\\u" in body:
        body = _ESCAPED.sub(_characters, body)
    return body


def _characters(match: re.Match[bytes]) -> bytes:
    units = bytes.fromhex(match[0].replace(b"\\u", b"").decode())
    return units.decode("utf-16-be", "replace").encode()
