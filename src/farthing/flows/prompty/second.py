"""Front matter in the second dialect: Prompty's own (microsoft/prompty, specification 0.1.0 of 2026-04).

What the file says of providers and connections has no effect: its model is asked through the gateway, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import did_you_mean
from farthing.flows.graph import Input
from farthing.flows.prompts.requests import parameter_names
from farthing.flows.prompty.file import Dialect, PromptyApi, PromptyFile
from farthing.flows.prompty.first import check_engine, choice
from farthing.flows.prompty.front import Front, Key, merged
from farthing.flows.prompty.schema import RICH, Property, is_typed, object_schema, properties

__all__ = ["SCHEMAS", "is_typed", "read"]

#: Older names of inputs and outputs, whose properties stand one level deeper.
SCHEMAS = {"inputSchema": "inputs", "outputSchema": "outputs"}
_MODEL_KEYS = (
    "id", "provider", "apiType", "api", "connection", "configuration", "options", "parameters",
    "response",
)  # fmt: skip
#: How an apiType is asked for here. An answer of the Responses API is that of a chat, with other fields.
_APIS: dict[str, PromptyApi] = {
    "chat": "chat",
    "responses": "chat",
    "agent": "chat",
    "completion": "completion",
    "embedding": "embedding",
}
#: The options' names in a request. None: no field of this interface, so it is left out, as specified.
_OPTIONS = {
    "temperature": "temperature",
    "maxOutputTokens": "max_completion_tokens",
    "topP": "top_p",
    "topK": None,
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "stopSequences": "stop",
    "seed": "seed",
    "allowMultipleToolCalls": "parallel_tool_calls",
}
_MORE = "additionalProperties"
#: Fields of a request that files write as they are sent.
_SENT = parameter_names("chat", "AzureOpenAI") - {"deployment_name"}
_SENT |= {"max_completion_tokens", "parallel_tool_calls"}
_TOOL_KEYS = ("name", "kind", "type", "description", "parameters", "strict", "bindings", "function")
#: The types of a flow's inputs for kinds of property.
_INPUT_KINDS = {
    "string": "string",
    "integer": "int",
    "float": "double",
    "boolean": "bool",
    "array": "list",
    "thread": "list",
    "object": "object",
    "union": "object",
}


def read(
    front: Front, changes: Mapping[str, Any], model: Mapping[str, Any], template: str, line: int
) -> PromptyFile:
    """The file. changes, model: merged into what it says. line: of the template. Raises FlowFormatError."""
    told = merged(front.plain(), changes)
    settled = _Settled(front, told)
    engine = _model(front, told.get("model"), model)
    check_engine(front, settled.value("template"))
    check_parser(front, told.get("template"))
    inputs = settled.properties("inputs")
    outputs = settled.properties("outputs")
    api = _api(front, engine)
    name, keys = _name(engine)
    parameters = _options(front, engine)
    tools = _tools(front, settled.value("tools", is_complete=False))
    if tools:
        parameters["tools"] = tools
    if outputs and api == "chat":
        parameters["response_format"] = _answer_format(front, outputs)
    return PromptyFile(
        path=front.path,
        name=str(told.get("name") or front.path.stem),
        template=template,
        dialect=Dialect.SECOND,
        template_line=line,
        api=api,
        response=choice(front, engine.get("response"), ("first", "all"), "model", "response"),
        model=name,
        model_span=front.span(*keys),
        configuration=_configuration(engine),
        parameters=parameters,
        inputs=_inputs(front, inputs),
        outputs=tuple(each.name for each in outputs) if api == "chat" else (),
        rich={each.name: each.kind for each in inputs if each.kind in RICH},
        sample=settled.value("sample")
        or {each.name: each.told["sample"] for each in inputs if "sample" in each.told},
        description=str(told.get("description") or ""),
        notes=_notes(engine, tools),
    )


class _Settled:
    """Front matter whose placeholders are put in place where a key is read: what is not used may be unset."""

    def __init__(self, front: Front, told: Mapping[str, Any]) -> None:
        self._front = front
        self._told = told

    def value(self, key: str, *, is_complete: bool = True) -> Any:
        return self._front.settled(
            self._told.get(key), key, is_confined=True, is_complete=is_complete
        )

    def properties(self, key: str) -> list[Property]:
        older = next(old for old, new in SCHEMAS.items() if new == key)
        if self._told.get(key) is None and self._told.get(older) is not None:
            below = self.value(older)
            keys: tuple[Key, ...] = (older,)
            if isinstance(below, Mapping) and "properties" in below:
                below, keys = below["properties"], (older, "properties")
            return list(properties(self._front, below, *keys))
        return list(properties(self._front, self.value(key), key))


# --- the model ---


def _model(front: Front, told: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Below model, its placeholders in place but those of connections, which are not used."""
    if isinstance(told, str):
        told = front.settled(told, "model", is_confined=True, is_complete=True)
    told = {"id": told} if isinstance(told, str) else front.mapping(told, "model")
    told = merged(told, changes)
    for key in told:
        if key not in _MODEL_KEYS:
            hint = did_you_mean(str(key), _MODEL_KEYS)
            hint = hint or f"Below model there may be {', '.join(_MODEL_KEYS)}."
            raise front.wrong_key("is not known", "model", str(key), hint=hint)
    for many in (("connection", "configuration"), ("apiType", "api"), ("options", "parameters")):
        if all(told.get(key) is not None for key in many):
            hint = f"Keep model.{many[0]}."
            raise front.wrong_key(f"stands beside model.{many[0]}", "model", many[1], hint=hint)
    settled = {}
    for key, value in told.items():
        is_used = key not in ("connection", "configuration")
        settled[key] = front.settled(value, "model", key, is_confined=True, is_complete=is_used)
    return settled


def _api(front: Front, engine: Mapping[str, Any]) -> PromptyApi:
    key = "api" if engine.get("api") else "apiType"
    told = engine.get(key)
    if told == "image":
        what = "is 'image', which does not run here: prompts are answered by texts and vectors"
        raise front.wrong_key(what, "model", key, hint=f"Known: {', '.join(_APIS)}.")
    return _APIS[choice(front, told, tuple(_APIS), "model", key)]


def _name(engine: Mapping[str, Any]) -> tuple[str | None, tuple[Key, ...]]:
    """The model's name, and where it stands."""
    if engine.get("id"):
        return str(engine["id"]), ("model", "id")
    for key in ("connection", "configuration"):
        below = engine.get(key)
        for field in ("azure_deployment", "model"):
            if isinstance(below, Mapping) and below.get(field):
                return str(below[field]), ("model", key, field)
    return None, ("model",)


def _configuration(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Who the file says answers; where, and with which key, is the gateway's matter, so it is not kept."""
    told = engine.get("connection") or engine.get("configuration")
    kind = engine.get("provider") or (told.get("type") if isinstance(told, Mapping) else None)
    return {"type": str(kind)} if kind else {}


def _options(front: Front, engine: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that the options stand for."""
    key = "parameters" if engine.get("parameters") else "options"
    told = front.mapping(engine.get(key), "model", key)
    made: dict[str, Any] = {}
    for name, value in told.items():
        if name == _MORE:
            continue
        if name not in _OPTIONS and name not in _SENT and key == "options":
            hint = did_you_mean(name, sorted({*_OPTIONS, *_SENT})) or ""
            hint = f"{hint} Fields that only one provider has stand below {_MORE}.".strip()
            raise front.wrong_key("is not known", "model", key, name, hint=hint)
        field = _OPTIONS.get(name, name)
        if field is not None and value is not None:
            made[field] = value
    return {**front.mapping(told.get(_MORE), "model", key, _MORE), **made}


def _notes(engine: Mapping[str, Any], tools: list[dict[str, Any]]) -> tuple[str, ...]:
    notes = []
    if engine.get("apiType") == "responses":
        notes.append("It asks the Responses API; here its model is asked by chat completions.")
    if tools:
        notes.append("Its tools are told to the model; calls of them come back, and are not made.")
    return tuple(notes)


# --- inputs, outputs, tools, template ---


def _inputs(front: Front, found: list[Property]) -> tuple[Input, ...]:
    others = [each.name for each in found if each.kind != "thread"]
    is_chat = len(found) > len(others)
    return tuple(
        Input(
            name=each.name,
            kind=_INPUT_KINDS.get(each.kind, each.kind),
            default=each.told.get("default"),
            # What is neither required nor given prints as nothing.
            has_default=each.told.get("default") is not None or not each.is_required,
            description=str(each.told.get("description") or ""),
            choices=each.choices,
            is_chat_input=is_chat and others == [each.name],
            is_chat_history=each.kind == "thread",
            span=front.span(*each.keys),
        )
        for each in found
    )


def _answer_format(front: Front, outputs: list[Property]) -> dict[str, Any]:
    schema = object_schema(front, outputs, is_strict=True)
    told = {"name": "structured_output", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": told}


def _tools(front: Front, told: Any) -> list[dict[str, Any]]:
    if not told:
        return []
    if isinstance(told, Mapping):
        told = [{"name": name, **front.mapping(each, "tools", name)} for name, each in told.items()]
    if not isinstance(told, list):
        raise front.wrong_key("is no list", "tools", hint="Write - name: …, kind: function.")
    return [_tool(front, each, "tools", number) for number, each in enumerate(told)]


def _tool(front: Front, told: Any, *keys: Key) -> dict[str, Any]:
    told = front.mapping(told, *keys)
    kind = told.get("kind") or told.get("type") or "function"
    if kind != "function":
        what = f"is '{kind}', which does not run here"
        hint = (
            "Only tools of the kind function are told to a model; call others from a Python node."
        )
        raise front.wrong_key(what, *keys, "kind" if told.get("kind") else "type", hint=hint)
    told = front.settled(told, *keys, is_complete=True)
    if isinstance(told.get("function"), Mapping):
        return {"type": "function", "function": told["function"]}  # as it is sent
    for key in told:
        if key not in _TOOL_KEYS:
            hint = did_you_mean(str(key), _TOOL_KEYS) or f"A tool has {', '.join(_TOOL_KEYS)}."
            raise front.wrong_key("is not known", *keys, str(key), hint=hint)
    if not told.get("name"):
        raise front.wrong_key("has no name", *keys, hint="Write - name: …, kind: function.")
    is_strict = bool(told.get("strict"))
    made: dict[str, Any] = {"name": str(told["name"])}
    if told.get("description"):
        made["description"] = str(told["description"])
    made["parameters"] = _parameters(front, told, is_strict, *keys)
    if is_strict:
        made["strict"] = True
    return {"type": "function", "function": made}


def _parameters(
    front: Front, told: Mapping[str, Any], is_strict: bool, *keys: Key
) -> dict[str, Any]:
    """What the model may give a tool: its parameters less those that are bound."""
    given, at = told.get("parameters"), (*keys, "parameters")
    bound = set(front.mapping(told.get("bindings"), *keys, "bindings"))
    if isinstance(given, Mapping) and given.get("type") == "object":
        kept = {k: v for k, v in (given.get("properties") or {}).items() if k not in bound}
        required = [each for each in given.get("required") or () if each not in bound]
        others = {k: v for k, v in given.items() if k != "required"}
        return {**others, "properties": kept, **({"required": required} if required else {})}
    if isinstance(given, Mapping) and isinstance(given.get("properties"), list | Mapping):
        given, at = given["properties"], (*at, "properties")
    found = [each for each in properties(front, given, *at) if each.name not in bound]
    return object_schema(front, found, is_strict=is_strict)


def check_parser(front: Front, engine: Any) -> None:
    """Whether the rendered text is read as this version reads it. Raises FlowFormatError."""
    parser = engine.get("parser") if isinstance(engine, Mapping) else None
    keys: tuple[Key, ...] = ("template", "parser")
    if isinstance(parser, Mapping):
        parser, keys = parser.get("kind"), (*keys, "kind")
    if parser not in (None, "prompty"):
        hint = "Write parser: prompty, or leave it out."
        raise front.wrong_key(f"is '{parser}', which does not run here", *keys, hint=hint)
