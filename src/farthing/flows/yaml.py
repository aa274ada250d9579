"""YAML as flow files are written: version 1.2, each value with its place, comments kept for writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows.graph import Span, wrong

#: Flow files are small; beyond this one is something else.
MAX_BYTES = 8 * 1024 * 1024


def read(path: Path) -> CommentedMap:
    """The mapping that the file is. Raises FlowFormatError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FlowFormatError("The file is larger than 8 MB, so it is no flow.", path=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FlowFormatError(
            "There is no such file.", hint=_beside(path), path=str(path)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFormatError(
            f"The file cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.",
            path=str(path),
        ) from error
    return parse(text, str(path))


def parse(text: str, path: str, *, first_line: int = 1) -> CommentedMap:
    """The mapping that a text is. first_line: where in the file it begins. Raises FlowFormatError."""
    try:
        found = _round_trip().load("\n" * (first_line - 1) + text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # Of a key that comes twice both values are quoted, which may be anything.
        problem = str(error.problem or "it cannot be read").partition(" with value ")[0]
        raise FlowFormatError(
            f"This is not YAML: {problem}.",
            hint="Check the indentation, and quote texts that hold ': ' or '#'.",
            path=path,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise FlowFormatError(
            f"This is not YAML that can be read ({type(error).__name__}).", path=path
        ) from None
    if not isinstance(found, CommentedMap):
        raise FlowFormatError(
            "The file is not a mapping of keys to values.",
            hint="A flow file begins with keys like inputs:, outputs: and nodes:.",
            path=path,
        )
    return found


def write(document: CommentedMap, path: Path) -> None:
    """Write a document back, its comments, order and quotes kept; all of it or nothing."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        _round_trip().dump(document, file)
    beside.replace(path)


def text_of(document: CommentedMap, *, has_indented_lists: bool = False) -> str:
    """A document as it is written."""
    writer, file = _round_trip(), StringIO()
    if has_indented_lists:
        writer.indent(mapping=2, sequence=4, offset=2)
    writer.dump(document, file)
    return file.getvalue()


def plain(value: Any) -> Any:
    """A value without what ruamel keeps for writing: dict, list, str, int, float, bool, date, None."""
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


class Table:
    """A mapping of a flow file while it is read: typed fields, and errors that say where.

    name: of the whole, for messages (`The node 'ask'`). node: the node it belongs to.
    """

    def __init__(self, value: Any, *, path: str, name: str, span: Span, node: str | None) -> None:
        if not isinstance(value, Mapping):
            raise wrong(
                f"{name} is {_kind(value)} where keys with values are expected.",
                node=node,
                span=span,
            )
        self._map = value
        self._path = path
        self.name = name
        self.span = span
        self.node = node

    def __contains__(self, key: str) -> bool:
        return self._map.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([str(key) for key in self._map])

    def has(self, key: str) -> bool:
        """Whether the key stands there, be its value null."""
        return key in self._map

    def raw(self, key: str) -> Any:
        """The value, plain."""
        return plain(self._map.get(key))

    def raw_map(self, key: str) -> Any:
        """The value as it stands in the document, with the places of what is in it."""
        return self._map.get(key)

    def place(self, key: str) -> Span:
        """Where the key's value stands."""
        return place_of(self._map, key, self._path) or self.span

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text, or a number taken as one. Raises FlowFormatError."""
        value = self._map.get(key)
        if value is None:
            return default
        if isinstance(value, Mapping | list):
            raise self.wrong(f"has {_kind(value)} for {key}, where a text is expected.", key)
        return str(plain(value))

    def required(self, key: str, *, hint: str) -> str:
        """A text that must be there and not be empty."""
        value = self.text(key)
        if not value:
            # The other way round than elsewhere: what was written is looked for near what is known.
            near = get_close_matches(key, [name for name in self if name != key], n=1)
            if near:
                raise self.wrong(f"has no {key}.", near[0], hint=f"Write {key} for '{near[0]}'.")
            raise self.wrong(f"has no {key}.", key, hint=hint)
        return value

    def flag(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self._map.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise self.wrong(
            f"has {_kind(value)} for {key}.", key, hint="Write true or false, without quotes."
        )

    def choice(self, key: str, known: Iterable[str], default: str | None = None) -> str | None:
        """One of the known words."""
        value = self.text(key, default)
        names = list(known)
        if value is not None and value not in names:
            hint = did_you_mean(value, names) or f"Known: {', '.join(names)}."
            raise self.wrong(f"has the {key} '{value}', which there is not.", key, hint=hint)
        return value

    def table(self, key: str, name: str, *, node: str | None = None) -> Table:
        """A mapping below; an absent one is empty."""
        value = self._map.get(key)
        return Table(
            {} if value is None else value,
            path=self._path,
            name=name,
            span=self.place(key),
            node=node or self.node,
        )

    def items(self, key: str) -> list[tuple[Any, Span]]:
        """A list below, each item with its place; an absent one is empty."""
        value = self._map.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(f"has {_kind(value)} for {key}, where a list is expected.", key)
        return [
            (item, place_of(value, number, self._path) or self.place(key))
            for number, item in enumerate(value)
        ]

    def wrong(
        self, message: str, key: str | None = None, *, hint: str | None = None
    ) -> FlowFormatError:
        """The error for one of its keys."""
        return wrong(
            f"{self.name} {message}",
            hint=hint,
            node=self.node,
            field=key,
            span=self.place(key) if key is not None and self.has(key) else self.span,
        )


def place_of(container: Any, key: Any, path: str) -> Span | None:
    """Where the value under a key or at an index stands in the file, if that is known."""
    try:
        if isinstance(container, CommentedMap):
            line, column = container.lc.value(key)
        elif isinstance(container, CommentedSeq):
            line, column = container.lc.item(key)
        else:
            return None
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return Span(path, line + 1, column + 1)


def _round_trip() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096  # a long line stays one line
    return yaml


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"a {type(plain(value)).__name__}"


def _beside(path: Path) -> str | None:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return f"The folder {path.parent} does not exist."
    return did_you_mean(path.name, names)
