"""`.prompty` files: front matter in YAML between lines of dashes, below it a template (prompt flow 1.18.5)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.core.private import Private, PrivateStruct
from farthing.flows import yaml
from farthing.flows.graph import Input, Span
from farthing.flows.prompts.requests import Api
from farthing.flows.prompty.placeholders import read_sample, settled

SUFFIX = ".prompty"
_DASHES = re.compile(r"^-{3,}[ \t]*\n", re.MULTILINE)
_APIS: tuple[Api, ...] = ("chat", "completion")
_ANSWERS = ("first", "all")
_MODEL_KEYS = ("api", "configuration", "parameters", "response")
#: What a configuration may hold beside the name of a connection.
_NAMES = ("type", "connection", "model", "azure_deployment")
_INPUT_KEYS = frozenset(
    ("type", "default", "description", "is_chat_input", "is_chat_history", "enum", "sample")
)


class PromptyFile(PrivateStruct, frozen=True, kw_only=True):
    """A prompty as its file, and what was changed when it was loaded, say.

    model: the name that requests carry, a deployment or a model; None when no configuration names one.
    configuration: the rest of it, an api_key as Private. parameters: sent as they are. outputs: the keys
    that a JSON answer is reduced to. sample: not read yet, see `samples`. template_line: where it begins.
    """

    path: Path
    name: str
    template: str
    template_line: int = 1
    api: Api = "chat"
    response: str = "first"
    model: str | None = None
    configuration: Mapping[str, Any] = {}
    parameters: Mapping[str, Any] = {}
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()
    sample: Any = None
    description: str = ""

    @property
    def samples(self) -> dict[str, Any]:
        """The inputs of the sample. Raises FlowFormatError when its file cannot be read."""
        found = read_sample(self.sample, self.path.parent, path=str(self.path))
        below = found.get("inputs")
        is_wrapped = isinstance(below, Mapping) and set(found) <= {"inputs", "init", "outputs"}
        if is_wrapped and all(each.name != "inputs" for each in self.inputs):
            return dict(below or {})
        return found

    @property
    def signature(self) -> tuple[Input, ...]:
        """The inputs that it takes: those declared, else those of the sample."""
        if self.inputs:
            return self.inputs
        return tuple(Input(name=key, kind=_kind(value)) for key, value in self.samples.items())


def load(
    path: Path, *, model: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> PromptyFile:
    """Read a prompty. model, changes: merged into the front matter, key by key. Raises FlowFormatError."""
    if path.suffix != SUFFIX:
        raise FlowFormatError(
            "This is no prompty: its name does not end in .prompty.", path=str(path)
        )
    parts = _parts(path)
    return _Reader(path, parts).prompty(dict(changes or {}), dict(model or {}))


@dataclasses.dataclass(frozen=True, repr=False)
class _Parts:
    document: Any
    template: str
    template_line: int


def _parts(path: Path) -> _Parts:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [each.name for each in path.parent.glob("*")]
        raise FlowFormatError(
            "There is no such file.", hint=did_you_mean(path.name, beside), path=str(path)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFormatError(
            f"The file cannot be read ({type(error).__name__}).", path=str(path)
        ) from error
    begin = _DASHES.search(text)
    end = _DASHES.search(text, begin.end()) if begin else None
    if begin is None or end is None or text[: begin.start()].strip():
        raise FlowFormatError(
            "This is no prompty: its front matter does not stand between two lines of dashes.",
            hint="Begin with ---, then YAML (name, model, inputs), then --- and the template.",
            path=str(path),
            line=1,
        )
    first_line = text.count("\n", 0, begin.end()) + 1
    document = yaml.parse(text[begin.end() : end.start()], str(path), first_line=first_line)
    return _Parts(document, text[end.end() :], text.count("\n", 0, end.end()) + 1)


class _Reader:
    """Turns front matter into a `PromptyFile`; knows where each key stands."""

    def __init__(self, path: Path, parts: _Parts) -> None:
        self._path = path
        self._document = parts.document
        self._parts = parts

    def prompty(self, changes: dict[str, Any], model: dict[str, Any]) -> PromptyFile:
        front = self._settled(yaml.plain(self._document))
        front = merged(front, self._settled(changes))
        told = front.get("model")
        if told is not None and not isinstance(told, Mapping):
            raise self._wrong("model", "is no mapping", "Write api, configuration and parameters.")
        told = merged(told or {}, self._settled(model))
        for key in told:
            if key not in _MODEL_KEYS:
                hint = did_you_mean(str(key), _MODEL_KEYS)
                raise self._wrong(
                    f"model.{key}",
                    "is not known",
                    hint or f"Below model there may be {', '.join(_MODEL_KEYS)}.",
                )
        configuration = self._configuration(told.get("configuration"))
        name = configuration.get("azure_deployment") or configuration.get("model")
        self._check_engine(front.get("template"))
        return PromptyFile(
            path=self._path,
            name=str(front.get("name") or self._path.stem),
            template=self._parts.template,
            template_line=self._parts.template_line,
            api=msgspec.convert(self._choice(told, "api", _APIS), Api),
            response=self._choice(told, "response", _ANSWERS),
            model=str(name) if name else None,
            configuration=configuration,
            parameters=self._mapping("model.parameters", told.get("parameters")),
            inputs=tuple(
                self._input(str(key), value)
                for key, value in self._mapping("inputs", front.get("inputs")).items()
            ),
            outputs=tuple(map(str, self._mapping("outputs", front.get("outputs")))),
            sample=front.get("sample"),
            description=str(front.get("description") or ""),
        )

    def _settled(self, value: Any) -> Any:
        return settled(value, self._path.parent, path=str(self._path))

    def _configuration(self, told: Any) -> dict[str, Any]:
        """Where the model is, its key wrapped. told: a mapping, or a model configuration object."""
        if told is None:
            return {}
        if not isinstance(told, Mapping):
            kind = "azure_openai" if "azure" in type(told).__name__.lower() else "openai"
            is_record = dataclasses.is_dataclass(told) and not isinstance(told, type)
            told = dataclasses.asdict(told) if is_record else vars(told)
            told = self._settled({"type": kind, **told})
        if told.get("connection") and any(v for k, v in told.items() if k not in _NAMES):
            raise self._wrong(
                "model.configuration",
                "has both a connection and the settings of one",
                "Keep the connection, or the endpoint, key and version.",
            )
        key = told.get("api_key")
        return {**told, "api_key": Private(key)} if isinstance(key, str) else dict(told)

    def _input(self, name: str, value: Any) -> Input:
        span = self._span(f"inputs.{name}")
        if not isinstance(value, Mapping) or (value and not set(value) & _INPUT_KEYS):
            return Input(
                name=name,
                kind=_kind(value),
                default=value,
                has_default=value is not None,
                span=span,
            )
        return Input(
            name=name,
            kind=str(value.get("type") or "string"),
            default=value.get("default"),
            has_default="default" in value,
            description=str(value.get("description") or ""),
            choices=tuple(value.get("enum") or ()),
            is_chat_input=bool(value.get("is_chat_input")),
            is_chat_history=bool(value.get("is_chat_history")),
            span=span,
        )

    def _choice(self, told: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
        value = told.get(key) or known[0]
        if value not in known:
            raise self._wrong(
                f"model.{key}", f"is '{value}', which there is not", f"Known: {', '.join(known)}."
            )
        return str(value)

    def _mapping(self, key: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._wrong(
                key, f"is a {type(value).__name__}, where keys with values are expected", None
            )
        return dict(value)

    def _check_engine(self, engine: Any) -> None:
        if isinstance(engine, Mapping):
            engine = engine.get("type") or engine.get("format")
        if engine not in (None, "jinja2", "jinja"):
            raise self._wrong(
                "template", f"is '{engine}', which does not run here", "Write it in jinja2."
            )

    def _wrong(self, key: str, what: str, hint: str | None) -> FlowFormatError:
        span = self._span(key)
        return FlowFormatError(
            f"'{key}' {what}.",
            hint=hint,
            field=key,
            path=span.path,
            line=span.line,
            column=span.column,
        )

    def _span(self, key: str) -> Span:
        """Where a key with dots stands, or the part of it that stands in the file."""
        at, span = self._document, Span(str(self._path))
        for part in key.split("."):
            found = yaml.place_of(at, part, str(self._path))
            if found is None:
                break
            at, span = at[part], found
        return span


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, at every depth; what stands above wins."""
    made = dict(below)
    for key, value in above.items():
        under = made.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            made[key] = merged(under, value)
        else:
            made[key] = value
    return made


def _kind(value: Any) -> str:
    """The type of an input, from a value of it."""
    kinds = {bool: "bool", int: "int", float: "double", list: "list", str: "string"}
    return kinds.get(type(value), "object" if value is not None else "string")
