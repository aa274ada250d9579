"""The parameters of tools: which type each wants, and what a literal of a flow file becomes for it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from farthing.core.errors import FlowError, FlowFormatError, FlowInputError
from farthing.flows import yaml
from farthing.flows.code.marks import AssistantDefinition, FilePath, PromptTemplate, Secret
from farthing.flows.code.tool import accepts_more, parameters_of
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import (
    TYPES,
    Connection,
    CustomConnection,
    CustomStrongTypeConnection,
    as_strong_type,
)
from farthing.flows.graph import Flow, Node, Port, wrong
from farthing.flows.prompts.images import Image, MessageFormat, image_of, with_images
from farthing.flows.values import coerce

#: The kind of value that an annotation asks for; all others take an object.
_KINDS: Mapping[object, str] = {
    int: "int",
    float: "double",
    bool: "bool",
    str: "string",
    list: "list",
    Secret: "secret",
    PromptTemplate: "prompt_template",
    FilePath: "file_path",
    Image: "image",
    AssistantDefinition: "assistant_definition",
}
#: Kinds for which an empty literal is a value when the parameter has no default of its own.
_MAY_BE_EMPTY = ("string", "object", "secret", "prompt_template", "file_path")
_CONNECTION_CLASSES = frozenset(kind.__name__ for kind in TYPES.values())


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a tool. kind: as flow files say it, or `connection`.

    connections: the classes that will do, by name. strong: the user's own class, to be made of a custom one.
    """

    name: str
    kind: str
    has_default: bool = False
    connections: tuple[str, ...] = ()
    strong: type[CustomStrongTypeConnection] | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool takes. accepts_more: inputs that it does not name too."""

    parameters: Mapping[str, Parameter]
    accepts_more: bool = False


def signature_of(
    function: Callable[..., Any], described: Mapping[str, Any] | None = None
) -> Signature:
    """The signature of a function. described: the inputs as a package tells them; the types there count."""
    found = {}
    for each in parameters_of(function):
        if each.name == "self":
            continue
        parameter = _parameter(each)
        told = (described or {}).get(each.name)
        found[each.name] = _as_described(parameter, told) if told else parameter
    takes_more = accepts_more(function)
    for name, told in (described or {}).items():
        if takes_more and name not in found and isinstance(told, Mapping):
            anything = Parameter(name=name, kind="object", has_default=True)
            found[name] = _as_described(anything, told)
    return Signature(parameters=found, accepts_more=takes_more)


def _parameter(each: inspect.Parameter) -> Parameter:
    has_default = each.default is not inspect.Parameter.empty
    wanted = each.annotation
    if wanted is inspect.Parameter.empty:
        wanted = type(each.default) if has_default else object
    choices = _choices(wanted)
    classes = [kind for kind in choices if isinstance(kind, type) and issubclass(kind, Connection)]
    if classes and len(classes) == len(choices):
        strong = [kind for kind in classes if issubclass(kind, CustomStrongTypeConnection)]
        names = {CustomConnection.__name__ if kind in strong else kind.__name__ for kind in classes}
        return Parameter(
            name=each.name,
            kind="connection",
            has_default=has_default,
            connections=tuple(sorted(names)),
            strong=strong[0] if strong else None,
        )
    kind = choices[0] if len(choices) == 1 else object
    if isinstance(kind, type) and issubclass(kind, Enum):
        kind = str  # prompt flow's tools get the text, and compare or convert it themselves
    return Parameter(name=each.name, kind=_kind(kind), has_default=has_default)


def _kind(wanted: object) -> str:
    try:
        return _KINDS.get(wanted, "object")
    except TypeError:  # an annotation that cannot be a key
        return "object"


def _choices(wanted: Any) -> list[Any]:
    """The types of a union, without None; else the one type."""
    if get_origin(wanted) is Annotated:
        return _choices(get_args(wanted)[0])
    if get_origin(wanted) in (Union, types.UnionType):
        return [each for each in get_args(wanted) if each is not types.NoneType]
    return [wanted]


def _as_described(parameter: Parameter, told: Mapping[str, Any]) -> Parameter:
    kinds = told.get("type") or []
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if not kinds or parameter.kind == "connection":
        return parameter
    if all(kind in _CONNECTION_CLASSES for kind in kinds):
        return msgspec.structs.replace(parameter, kind="connection", connections=tuple(kinds))
    return msgspec.structs.replace(parameter, kind=str(kinds[0]))


class Literals:
    """Turns the literals of one node's file into what its tool takes."""

    def __init__(self, flow: Flow, node: Node, connections: Connections) -> None:
        self._folder: Path = flow.folder
        self._format: MessageFormat = flow.message_format
        self._node = node
        self.connections = connections

    def fixed(self, ports: Iterable[Port], signature: Signature) -> dict[str, Any]:
        """The values of the literals that are not left out. Raises FlowFormatError."""
        made = {}
        for port in ports:
            if port.reference is not None or is_left_out(port, signature):
                continue
            parameter = signature.parameters.get(port.name)
            if parameter is None or says_nothing(port):
                made[port.name] = port.value
            else:
                made[port.name] = self._value(port, parameter)
        return made

    def _value(self, port: Port, parameter: Parameter) -> Any:
        if parameter.kind == "connection":
            return self._connection(port, parameter)
        try:
            return self._converted(port.value, parameter.kind)
        except FlowInputError as error:
            raise wrong(
                f"'{port.name}' of the node '{self._node.name}' is not {parameter.kind}.",
                hint=error.hint,
                node=self._node.name,
                field=f"inputs.{port.name}",
                span=port.span,
            ) from None

    def _converted(self, value: Any, kind: str) -> Any:
        if kind == "secret":
            return Secret(value)
        if kind == "prompt_template":
            return PromptTemplate(value)
        if kind == "file_path":
            file = self._folder / str(value)
            return FilePath(file.resolve() if file.exists() else value)
        if kind == "image":
            return image_of(value, self._folder)
        if kind == "assistant_definition":
            return AssistantDefinition.deserialize(yaml.plain(yaml.read(self._folder / value)))
        return with_images(coerce(kind, value, name=""), self._folder, self._format)

    def _connection(self, port: Port, parameter: Parameter) -> Connection:
        if not isinstance(port.value, str):
            raise self._wrong(port, "is no name of a connection.", "Write the name of one.")
        try:
            found = self.connections.get(port.value, self._node.name, parameter.connections)
        except FlowFormatError as error:
            raise self._wrong(
                port, f"names a connection that will not do. {error.message}", error.hint
            ) from None
        if parameter.strong is not None and isinstance(found, CustomConnection):
            try:
                return as_strong_type(found, parameter.strong)
            except TypeError as error:
                raise FlowError(
                    f"The connection '{port.value}' cannot become a {parameter.strong.__name__}.",
                    hint="Let its class take configs and secrets, as its base does.",
                    node=self._node.name,
                ) from error
        return found

    def _wrong(self, port: Port, message: str, hint: str | None) -> FlowFormatError:
        return wrong(
            f"'{port.name}' of the node '{self._node.name}' {message}",
            hint=hint,
            node=self._node.name,
            field=f"inputs.{port.name}",
            span=port.span,
        )


def says_nothing(port: Port) -> bool:
    """Whether it is a literal that is null or an empty text."""
    return port.reference is None and (port.value is None or port.value == "")


def is_left_out(port: Port, signature: Signature) -> bool:
    """Whether it is not given to the tool, so that the parameter's own default counts.

    An empty text for a parameter that has none is a text. (Prompt flow leaves it out there too, and the
    call fails.)
    """
    parameter = signature.parameters.get(port.name)
    has_own = parameter is None or parameter.has_default or parameter.kind not in _MAY_BE_EMPTY
    return says_nothing(port) and has_own
