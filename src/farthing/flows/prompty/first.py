"""Front matter in the first dialect: prompt flow's prompties (1.18.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from farthing.core.errors import did_you_mean
from farthing.core.private import Private
from farthing.flows.graph import Input
from farthing.flows.prompts.requests import Api
from farthing.flows.prompty.file import PromptyFile, kind_of
from farthing.flows.prompty.front import Front, Key, merged

_APIS: tuple[Api, ...] = ("chat", "completion")
_ANSWERS = ("first", "all")
_MODEL_KEYS = ("api", "configuration", "parameters", "response")
#: What a configuration may hold beside the name of a connection.
_NAMES = ("type", "connection", "model", "azure_deployment")
_INPUT_KEYS = frozenset(
    ("type", "default", "description", "is_chat_input", "is_chat_history", "enum", "sample")
)


def read(
    front: Front, changes: Mapping[str, Any], model: Mapping[str, Any], template: str, line: int
) -> PromptyFile:
    """The file. changes, model: merged into what it says. line: of the template. Raises FlowFormatError."""
    found = merged(front.settled(front.plain()), front.settled(changes))
    told = found.get("model")
    if told is not None and not isinstance(told, Mapping):
        hint = "Write api, configuration and parameters."
        raise front.wrong_key("is no mapping", "model", hint=hint)
    told = merged(told or {}, front.settled(model))
    for key in told:
        if key not in _MODEL_KEYS:
            near = did_you_mean(str(key), _MODEL_KEYS)
            hint = near or f"Below model there may be {', '.join(_MODEL_KEYS)}."
            raise front.wrong_key("is not known", "model", str(key), hint=hint)
    configuration = _configuration(front, told.get("configuration"))
    field = "azure_deployment" if configuration.get("azure_deployment") else "model"
    name = configuration.get(field)
    check_engine(front, found.get("template"))
    return PromptyFile(
        path=front.path,
        name=str(found.get("name") or front.path.stem),
        template=template,
        template_line=line,
        api=msgspec.convert(choice(front, told.get("api"), _APIS, "model", "api"), Api),
        response=choice(front, told.get("response"), _ANSWERS, "model", "response"),
        model=str(name) if name else None,
        model_span=front.span("model", "configuration", field),
        configuration=configuration,
        parameters=front.mapping(told.get("parameters"), "model", "parameters"),
        inputs=tuple(
            _input(front, str(key), value)
            for key, value in front.mapping(found.get("inputs"), "inputs").items()
        ),
        outputs=tuple(map(str, front.mapping(found.get("outputs"), "outputs"))),
        sample=found.get("sample"),
        description=str(found.get("description") or ""),
    )


def choice(front: Front, value: Any, known: tuple[str, ...], *keys: Key) -> str:
    """One of the known words, the first when there is none. Raises FlowFormatError."""
    value = value or known[0]
    if value not in known:
        hint = f"Known: {', '.join(known)}."
        raise front.wrong_key(f"is '{value}', which there is not", *keys, hint=hint)
    return str(value)


def check_engine(front: Front, engine: Any) -> None:
    """Whether the template is written in what is rendered here. Raises FlowFormatError."""
    keys: tuple[Key, ...] = ("template",)
    for key in ("format", "type", "kind"):
        if isinstance(engine, Mapping) and engine.get(key):
            engine, keys = engine[key], (*keys, key)
    # Nunjucks is what Prompty's TypeScript runtime calls the same subset of Jinja.
    if engine not in (None, "jinja2", "jinja", "nunjucks"):
        told = f"is '{engine}', which does not run here"
        raise front.wrong_key(told, *keys, hint="Write it in jinja2.")


def _configuration(front: Front, told: Any) -> dict[str, Any]:
    """Where the model is, its key wrapped. told: a mapping, or a model configuration object."""
    if told is None:
        return {}
    if not isinstance(told, Mapping):
        kind = "azure_openai" if "azure" in type(told).__name__.lower() else "openai"
        is_record = dataclasses.is_dataclass(told) and not isinstance(told, type)
        told = dataclasses.asdict(told) if is_record else vars(told)
        told = front.settled({"type": kind, **told})
    if told.get("connection") and any(v for k, v in told.items() if k not in _NAMES):
        raise front.wrong_key(
            "has both a connection and the settings of one",
            "model",
            "configuration",
            hint="Keep the connection, or the endpoint, key and version.",
        )
    key = told.get("api_key")
    return {**told, "api_key": Private(key)} if isinstance(key, str) else dict(told)


def _input(front: Front, name: str, value: Any) -> Input:
    span = front.span("inputs", name)
    if not isinstance(value, Mapping) or (value and not set(value) & _INPUT_KEYS):
        return Input(
            name=name,
            kind=kind_of(value),
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
