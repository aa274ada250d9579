"""Makes the object of a flex flow that is a class: its init values typed, connections put in for names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from farthing.core.errors import FarthingError, FlowError, FlowInputError, did_you_mean
from farthing.flows.flex.signature import CONFIGURATION, CONNECTION, Parameter
from farthing.flows.values import coerce


class ConnectionSource(Protocol):
    """Where a flow's connections are."""

    def get(self, name: str) -> Any:
        """The connection of that name. Raises ConnectionMissingError."""
        ...


def make(
    kind: Callable[..., Any],
    parameters: list[Parameter],
    given: Mapping[str, Any],
    connections: ConnectionSource | None,
    *,
    takes_more: bool = False,
) -> Any:
    """The object of the class, from init values by name.

    Raises FlowInputError: unknown values, missing ones, those of the wrong type; FlowError when the class
    itself raises.
    """
    name = getattr(kind, "__name__", "the entry")
    known = [each.input.name for each in parameters]
    unknown = [key for key in given if key not in known]
    if unknown and not takes_more:
        raise FlowInputError(
            f"'{name}' takes no init value '{unknown[0]}'.",
            hint=did_you_mean(unknown[0], known) or f"It takes: {', '.join(known) or 'none'}.",
            param=unknown[0],
        )
    missing = [
        p.input.name for p in parameters if p.input.name not in given and not p.input.has_default
    ]
    if missing:
        raise FlowInputError(
            f"'{name}' needs the init value{'s' if len(missing) > 1 else ''} "
            f"{', '.join(map(repr, missing))}.",
            hint=f"Give them, e.g. --init {missing[0]}=…, or write sample: init: in its flow file.",
            param=missing[0],
        )
    values = {key: given[key] for key in unknown}
    for each in parameters:
        is_given = each.input.name in given
        value = given[each.input.name] if is_given else each.input.default
        if value is not None or (is_given and not each.takes_none):
            value = _typed(each, value, connections)
        values[each.input.name] = value
    try:
        return kind(**values)
    except FarthingError:
        raise
    except Exception as error:  # border: the user's class
        # Its message may hold a secret of the values, so only its type is told.
        raise FlowError(
            f"Making '{name}' failed with {type(error).__name__}.",
            hint="Look at its __init__, and at the init values.",
        ) from error


def _typed(parameter: Parameter, value: Any, connections: ConnectionSource | None) -> Any:
    kind, name = parameter.input.kind, parameter.input.name
    if kind.endswith(CONFIGURATION):
        return _configuration(parameter, value, connections)
    if kind.endswith(CONNECTION):
        if not isinstance(value, str):
            return value
        found = _connection(value, connections)
        if isinstance(parameter.hint, type) and not isinstance(found, parameter.hint):
            raise FlowInputError(
                f"The connection '{value}' is a {type(found).__name__}; '{name}' needs a {kind}.",
                hint="Name one of that type.",
                param=name,
            )
        return found
    return coerce(kind, value, name=name) if parameter.is_typed else value


def _configuration(parameter: Parameter, value: Any, connections: ConnectionSource | None) -> Any:
    """A model configuration, from itself, a mapping or a mapping in JSON."""
    kind, name = parameter.input.kind, parameter.input.name
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, Mapping) and callable(parameter.hint):
        told = {key: each for key, each in value.items() if key != "type"}
        try:
            value = parameter.hint(**told)
        except TypeError as error:
            raise FlowInputError(
                f"The init value '{name}' is no {kind}: {error}.",
                hint='Write e.g. {"azure_deployment": "gpt-4o", "connection": "my_connection"}.',
                param=name,
            ) from None
    if value is None or isinstance(value, Mapping):
        raise FlowInputError(
            f"The init value '{name}' is no {kind}.",
            hint='Write e.g. {"azure_deployment": "gpt-4o", "connection": "my_connection"}.',
            param=name,
        )
    connection = getattr(value, "connection", None)
    if isinstance(connection, str) and connections is not None:
        try:
            found = connections.get(connection)
        except FlowError:
            return value  # then the gateway has the model; only code that asks for the key would notice
        model = {
            key: getattr(value, key) for key in ("azure_deployment", "model") if hasattr(value, key)
        }
        return type(value).from_connection(found, **model)
    return value


def _connection(name: str, connections: ConnectionSource | None) -> Any:
    if connections is None:
        raise FlowError(
            f"There are no connections to take '{name}' from.",
            hint="Open the flow with open_flow(path, connections=…).",
        )
    return connections.get(name)
