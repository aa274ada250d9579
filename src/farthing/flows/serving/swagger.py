"""The interface of a served flow as an OpenAPI 3.0.0 document, its shape that of prompt flow."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from farthing.flows.graph import Flow, Input, Output

_TYPES = {
    "int": "integer",
    "double": "number",
    "bool": "boolean",
    "string": "string",
    "list": "array",
    "object": "object",
    "image": "object",
}
_ANY: dict[str, Any] = {"type": "object", "additionalProperties": {}}


def document(
    flow: Flow, *, hidden: Collection[str] = (), sample: object = None, server: str | None = None
) -> dict[str, Any]:
    """hidden: outputs that no answer shows. sample: inputs to show. server: an address before the paths."""
    told = {
        "openapi": "3.0.0",
        "info": _info(flow),
        "components": {"securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearerAuth": []}],
        "paths": {"/score": {"post": _score(flow, hidden, sample or {})}, "/feedback": _feedback()},
    }
    if server is not None:
        told["servers"] = [{"url": server}]
    return told


def _info(flow: Flow) -> dict[str, str]:
    name = flow.folder.resolve().name  # prompt flow names what it serves after its folder
    info = {"title": f"Promptflow[{name}] API", "version": "1.0.0", "x-flow-name": name}
    for each in flow.inputs:
        if each.is_chat_input:
            info["x-chat-input"] = each.name
            info["x-flow-type"] = "chat"
        if each.is_chat_history:
            info["x-chat-history"] = each.name
    for output in flow.outputs:
        if output.is_chat_output and not output.is_for_evaluation:
            info["x-chat-output"] = output.name
    return info


def _score(flow: Flow, hidden: Collection[str], sample: object) -> dict[str, Any]:
    takes: dict[str, Any] = {"type": "object"}
    if flow.inputs:
        takes["properties"] = {each.name: _input(each) for each in flow.inputs}
        takes["required"] = [each.name for each in flow.inputs]
    gives: dict[str, Any] = {"type": "object"}
    declared = [each for each in flow.outputs if not each.is_assumed]
    if declared:
        gives["properties"] = {
            each.name: _schema(each)
            for each in declared
            if each.name not in hidden and not each.is_for_evaluation
        }
    return {
        "summary": f"Run one line of {flow.name}",
        "requestBody": {
            "description": "The inputs of the flow",
            "required": bool(flow.inputs),
            "content": {"application/json": {"schema": takes, "example": sample}},
        },
        "responses": _responses("200", gives),
    }


def _feedback() -> dict[str, Any]:
    return {
        "post": {
            "summary": "Tell what you think of an answer",
            "requestBody": {
                "description": "Any JSON object",
                "required": True,
                "content": {"application/json": {"schema": _ANY}},
            },
            "responses": _responses("200", _ANY),
        },
        "parameters": [
            {
                "name": "flatten",
                "in": "query",
                "description": "Make an attribute of each field",
                "required": False,
                "schema": {"type": "boolean"},
            }
        ],
    }


def _responses(status: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        status: {
            "description": "The answer",
            "content": {"application/json": {"schema": schema}},
        },
        "400": {"description": "The inputs are wrong, or the flow failed on them"},
        "default": {"description": "Anything else went wrong"},
    }


def _input(each: Input) -> dict[str, Any]:
    schema = _schema(each)
    if each.default:  # a default that is false or empty is not told; prompt flow's way
        schema["default"] = msgspec.to_builtins(each.default, enc_hook=str, str_keys=True)
    return schema


def _schema(each: Input | Output) -> dict[str, Any]:
    """A type that is none of a flow file's is a connection's, by its name."""
    kind = _TYPES.get(each.kind, "string")
    schema: dict[str, Any] = {"type": kind}
    if each.description:
        schema["description"] = each.description
    if each.kind == "object":
        schema["additionalProperties"] = {}
    if each.kind == "list":
        schema["items"] = _ANY
    return schema
