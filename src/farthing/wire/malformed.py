"""What is wrong with a client's JSON: what happened, where, and what to send instead, never a value."""

from __future__ import annotations

import re

import msgspec

#: msgspec's words for JSON types, and ours.
_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_WRONG_TYPE = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`")
_BOUND = re.compile(r"Expected `(?P<type>\w+)`(?P<bound> .+)")
_NAMED = re.compile(r"`([^`]*)`$")
#: `\ud83d` without the `\ude00` that must follow it, or the other way round.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence, the advice that follows it, and the path of the field at fault (None: the body)."""

    message: str
    hint: str
    param: str | None = None


#: What decoding a client's bytes may raise.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def complaint(error: Exception, raw: bytes | msgspec.Raw, *, path: str = "") -> Complaint:
    """The complaint for an error that decoding `raw` raised. path: where `raw` stands in the body."""
    place = f"The field '{path}'" if path else "The body"
    if isinstance(error, RecursionError):
        return Complaint(
            message=f"{place} is nested too deeply.",
            hint="Flatten it, or send the inner part as text.",
            param=path or None,
        )
    if isinstance(error, msgspec.ValidationError):
        return _invalid(str(error), path)
    return _unreadable(error, bytes(raw), place, path or None)


def _unreadable(error: Exception, raw: bytes, place: str, param: str | None) -> Complaint:
    hint = "Correct it there, or let a JSON library write it."
    if not raw.strip():
        problem = "is empty"
        hint = "Send one JSON object, in UTF-8."
    elif raw.startswith(_BYTE_ORDER_MARKS):
        problem = "begins with a byte order mark"
        hint = "Send it as UTF-8 without one."
    elif isinstance(error, UnicodeDecodeError):
        problem = f"is not UTF-8 text (byte {error.start})"
        hint = "Encode it as UTF-8."
    elif lone := _LONE_SURROGATE.search(raw):
        problem = f"has half of a surrogate pair (byte {lone.start()})"
        hint = "Escape such a character as a whole pair, or send it as UTF-8."
    else:
        reason = str(error).removeprefix("JSON is malformed: ").removesuffix(".")
        if reason == "Input data was truncated":
            reason = f"it ends too early (byte {len(raw)})"
        problem = f"is not valid JSON: {reason}"
    return Complaint(message=f"{place} {problem}.", hint=hint, param=param)


def _invalid(sentence: str, path: str) -> Complaint:
    words, _, inner = sentence.partition(" - at ")
    inner = inner.strip("`").removeprefix("$")
    path = f"{path}{inner}".removeprefix(".")
    named = _NAMED.search(words)
    if words.startswith("Object missing required field") and named:
        path = f"{path}.{named[1]}".removeprefix(".")
        return Complaint(
            message=f"The field '{path}' is missing.", hint="Add it to the body.", param=path
        )
    if words.startswith("Object contains unknown field") and named:
        path = f"{path}.{named[1][:64]}".removeprefix(".")
        return Complaint(
            message=f"There is no field '{path}' here.", hint="Correct or remove it.", param=path
        )
    place = f"The field '{path}'" if path else "The body"
    problem, hint = _problem(words)
    return Complaint(message=f"{place} {problem}.", hint=hint, param=path or None)


def _problem(words: str) -> tuple[str, str]:
    """What is wrong with a value, and what to send instead."""
    if match := _WRONG_TYPE.match(words):
        wanted = [_TYPES.get(name, name) for name in match[1].split(" | ")]
        given = _TYPES.get(match[2], match[2])
        asked = " or ".join(name for name in wanted if name != "null")
        leave = ", or leave it out" if "null" in wanted else ""
        return f"has the wrong type: it is {given}", f"Send {asked}{leave}."
    if words.startswith("Invalid enum value"):
        return "has an unknown value", "Send one that GET /admin/openapi.json lists for it."
    if "matching regex" in words:
        return "has characters that cannot stand there", "Use letters and digits, without slashes."
    if match := _BOUND.match(words):
        bound = match["bound"].strip().replace("of length", "with a length")
        return "is out of range", f"Send {_TYPES.get(match['type'], match['type'])} {bound}."
    if "out of range" in words:
        return "is a number out of range", "Send a smaller one."
    return f"is not as it should be: {words[:1].lower()}{words[1:]}".rstrip("."), "Correct it."
