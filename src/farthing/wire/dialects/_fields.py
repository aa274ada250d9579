"""A JSON object read field by field, with the path at fault in errors and the unread rest kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from farthing.core.errors import BadRequestError, FarthingError, UntranslatableError
from farthing.core.private import Extra
from farthing.wire.malformed import MALFORMED, complaint

T = TypeVar("T")


class Fields:
    """One JSON object. Each reader takes its field; `rest()` is what nobody took, verbatim.

    path: where the object stands (`messages[0].content[1]`), empty for the body. fail: the error to
    raise: BadRequestError for a client's bytes, UpstreamProtocolError for a provider's. `spelled`
    folds other spellings of a field (`max_output_tokens` for `maxOutputTokens`). null counts as absent.
    """

    __slots__ = ("_fail", "_fields", "_path", "verbatim")

    def __init__(
        self, raw: bytes | msgspec.Raw, *, path: str = "", fail: type[FarthingError]
    ) -> None:
        self._path = path
        self._fail = fail
        self.verbatim = raw if isinstance(raw, msgspec.Raw) else msgspec.Raw(raw)
        self._fields: dict[str, msgspec.Raw] = self._decode(raw, path, dict[str, msgspec.Raw])

    def at(self, name: str) -> str:
        """The path of a field of this object."""
        return f"{self._path}.{name}" if self._path else name

    def spelled(self, fold: Callable[[str], str]) -> Fields:
        """This object with each name folded to the spelling that we read. Returns itself."""
        for name in list(self._fields):
            folded = fold(name)
            if folded != name:
                self._fields.setdefault(folded, self._fields.pop(name))
        return self

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return name in self._fields and bytes(self._fields[name]) != b"null"

    def is_string(self, name: str) -> bool:
        """Whether the field holds a string."""
        return name in self._fields and bytes(self._fields[name]).startswith(b'"')

    def is_array(self, name: str) -> bool:
        """Whether the field holds an array."""
        return name in self._fields and bytes(self._fields[name]).startswith(b"[")

    def string(self, name: str) -> str | None:
        """A string, or None."""
        return self._take(name, str)

    def required_string(self, name: str) -> str:
        """A string that must be there."""
        value = self.string(name)
        if value is None:
            raise self._fail(
                f"The field '{self.at(name)}' is missing.",
                hint=self._advice("Add it to the body."),
                param=self.at(name),
            )
        return value

    def integer(self, name: str) -> int | None:
        """A whole number, or None."""
        return self._take(name, int)

    def number(self, name: str) -> float | None:
        """A number, or None."""
        return self._take(name, float)

    def boolean(self, name: str) -> bool | None:
        """true, false, or None."""
        return self._take(name, bool)

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty when absent."""
        return self._take(name, tuple[str, ...]) or ()

    def raw(self, name: str) -> msgspec.Raw | None:
        """Any value, verbatim; None when absent or null."""
        value = self._fields.pop(name, None)
        return None if value is None or bytes(value) == b"null" else value.copy()

    def json_text(self, name: str) -> str | None:
        """Any value as its JSON text, or None."""
        value = self.raw(name)
        return None if value is None else bytes(value).decode()

    def object(self, name: str) -> Fields | None:
        """A nested object, or None."""
        value = self.raw(name)
        return None if value is None else Fields(value, path=self.at(name), fail=self._fail)

    def objects(self, name: str) -> list[Fields]:
        """An array of objects; empty when absent."""
        value = self._take(name, list[msgspec.Raw]) or []
        place = self.at(name)
        return [Fields(raw, path=f"{place}[{n}]", fail=self._fail) for n, raw in enumerate(value)]

    def rest(self) -> Extra:
        """The fields nobody read, verbatim. null stays: it may mean something in the dialect."""
        return {name: raw.copy() for name, raw in self._fields.items()}

    def put_back(self, name: str, rest: Extra) -> None:
        """Leave the unread rest of a nested object to this object's own `rest()`."""
        if rest:
            self._fields[name] = msgspec.Raw(msgspec.json.encode(rest))

    def fault(self, name: str, problem: str) -> FarthingError:
        """The error for a field whose value is wrong; `problem` completes "The field 'x' …"."""
        return self._fail(f"The field '{self.at(name)}' {problem}", param=self.at(name))

    def _take(self, name: str, kind: type[T]) -> T | None:
        value = self._fields.pop(name, None)
        if value is None or bytes(value) == b"null":
            return None
        return self._decode(value, self.at(name), kind)

    def _decode(self, raw: bytes | msgspec.Raw, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(raw, type=kind)
        except MALFORMED as error:
            told = complaint(error, raw, path=path)
            hint = self._advice(told.hint)
            raise self._fail(told.message, hint=hint, param=told.param) from None

    def _advice(self, hint: str) -> str | None:
        """Advice is for a client; nobody who reads it can correct a provider's bytes."""
        return hint if issubclass(self._fail, BadRequestError) else None


def decode_head(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """One typed pass over a client's body. Raises BadRequestError with the field at fault."""
    try:
        if not body.isascii():
            body.decode()  # what is kept raw is not looked at by the decoder
        return decoder.decode(body)
    except MALFORMED as error:
        told = complaint(error, body)
        raise BadRequestError(told.message, hint=told.hint, param=told.param) from None


def arguments_json(arguments: str, path: str) -> msgspec.Raw:
    """A tool call's arguments as a JSON object, verbatim. Raises UntranslatableError when they are none."""
    text = arguments.strip() or "{}"
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        raise UntranslatableError(
            f"The tool call's arguments at '{path}' are not a JSON object, which this dialect requires.",
            hint="Pass the arguments as the model wrote them, or correct them.",
            param=path,
        ) from None
    return msgspec.Raw(text.encode())


def merged(built: dict[str, object], name: str, extra: dict[str, msgspec.Raw]) -> None:
    """Give the object `built[name]` back its unread rest (see `Fields.put_back`), taken out of `extra`."""
    raw = extra.pop(name, None)
    if raw is None:
        return
    inner = built.get(name)
    try:
        rest = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        built.setdefault(name, raw)
        return
    built[name] = {**rest, **inner} if isinstance(inner, dict) else rest
