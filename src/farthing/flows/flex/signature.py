"""What a function of a flex flow takes and gives, as its type hints and its flow file say."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.code.tool import parameters_of
from farthing.flows.graph import Input, Output, Span, wrong
from farthing.flows.values import coerce

_EMPTY = inspect.Parameter.empty
_KINDS: dict[Any, str] = {
    bool: "bool", int: "int", float: "double", str: "string", list: "list", tuple: "list", dict: "object",
}  # fmt: skip
#: Ends of the names of classes whose objects are made from a name or a mapping.
CONNECTION, CONFIGURATION = "Connection", "ModelConfiguration"


class Parameter(typing.NamedTuple):
    """One parameter. is_typed: a hint, a default or the flow file says its kind, so values are converted.

    hint: its annotation, None when it has none. None is taken as it is where only a hint says the kind.
    """

    input: Input
    hint: Any
    is_typed: bool
    takes_none: bool


def parameters(
    function: Callable[..., Any], declared: Mapping[str, Any], span: Callable[[str], Span]
) -> list[Parameter]:
    """The parameters of a function, each as an input. declared: what the flow file says of them, by name.

    span: where the file says it. Raises FlowFormatError.
    """
    found = []
    for each in parameters_of(function):
        if each.name == "self":
            continue
        told = declared.get(each.name)
        told = told if isinstance(told, Mapping) else {"default": told}
        hint = None if each.annotation is _EMPTY else _bare(each.annotation)
        kind = told.get("type") or kind_of(hint, each.default)
        default = told.get("default")
        # Prompt flow writes "" for a default that only the code knows.
        is_default_told = default is not None and default != ""
        if is_default_told:
            default = _default(each.name, told, default, span(each.name))
        else:
            default = None if each.default is _EMPTY else each.default
        if each.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise FlowFormatError(
                f"The parameter '{each.name}' cannot be given by name.",
                hint="Take the / out of the function's parameters.",
                field=each.name,
            )
        made = Input(
            name=each.name,
            kind=str(kind or "object"),
            default=default,
            has_default=is_default_told or each.default is not _EMPTY,
            description=str(told.get("description") or ""),
            choices=_choices(hint),
            is_chat_input=bool(told.get("is_chat_input")),
            is_chat_history=bool(told.get("is_chat_history")),
            span=span(each.name),
        )
        found.append(Parameter(made, hint, bool(kind), "type" not in told))
    return found


def outputs(function: Callable[..., Any], declared: Mapping[str, Any]) -> tuple[Output, ...]:
    """What it gives: the outputs of the file, else the fields of what it is annotated to return."""
    if declared:
        return tuple(
            Output(
                name=str(name),
                reference=None,
                kind=str(told.get("type") or "string") if isinstance(told, Mapping) else "string",
                is_chat_output=isinstance(told, Mapping) and bool(told.get("is_chat_output")),
            )
            for name, told in declared.items()
        )
    hint = returned(function)
    hints: Mapping[str, Any] = {}
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        try:
            hints = typing.get_type_hints(hint)
        except (NameError, TypeError):
            hints = getattr(hint, "__annotations__", {})
    if hints:
        return tuple(
            Output(name=name, reference=None, kind=kind_of(each) or "object")
            for name, each in hints.items()
        )
    kind = kind_of(hint) or "string"
    return (Output(name="output", reference=None, kind=kind, is_assumed=True),)


def returned(function: Callable[..., Any]) -> Any:
    """The annotation of what it returns, None when there is none that can be read."""
    try:
        hint = inspect.signature(function, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return None if hint is inspect.Signature.empty else hint


def kind_of(hint: Any, default: Any = _EMPTY) -> str | None:
    """The type of a flow that a type hint is; without a hint that of the default; None when neither says."""
    if hint is None:
        return _KINDS.get(type(default)) if default is not _EMPTY else None
    if isinstance(hint, str):  # of a name that only a type checker knows
        return hint.rpartition(".")[2] if hint.endswith((CONNECTION, CONFIGURATION)) else None
    hint = _bare(hint)
    kind = _KINDS.get(typing.get_origin(hint) or hint)
    if kind is not None or not isinstance(hint, type):
        return kind
    if hint.__name__.endswith((CONNECTION, CONFIGURATION)):
        return hint.__name__
    if issubclass(hint, enum.Enum):
        return "string"
    for known in (bool, int, float, str, list, dict):
        if issubclass(hint, known):
            return _KINDS[known]
    return None


def _bare(hint: Any) -> Any:
    """The hint without `Annotated`, and without `None` as the other possibility."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _bare(inner[0])
    if origin in (typing.Union, types.UnionType):
        left = [each for each in inner if each is not type(None)]
        return _bare(left[0]) if len(left) == 1 else hint
    return hint


def _default(name: str, told: Mapping[str, Any], default: Any, span: Span) -> Any:
    """A default of the flow file, of the type that the file says. Raises FlowFormatError."""
    kind = str(told.get("type") or "")
    try:
        return coerce(kind, default, name=name)
    except FlowInputError as error:
        raise wrong(
            f"'{name}' has a default that is no {kind}.", hint=error.hint, field=name, span=span
        ) from None


def _choices(hint: Any) -> tuple[object, ...]:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(each.value for each in hint)
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
