"""The OpenAPI document: the admin API from its types, the model faces in outline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from farthing import __version__
from farthing.server.faces import admin, anthropic, azure, control, flows, google, openai
from farthing.server.faces.authority import AdminOperation
from farthing.server.faces.face import Face, Operation

_FACES = (
    admin.FACE,
    control.FACE,
    openai.FACE,
    azure.FACE,
    anthropic.FACE,
    google.FACE,
    flows.FACE,
)
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
#: Where the bodies of the model faces are described: by the vendors themselves.
_VENDOR_DOCS = {
    "openai": "https://platform.openai.com/docs/api-reference",
    "azure": "https://learn.microsoft.com/azure/ai-services/openai/reference",
    "anthropic": "https://docs.anthropic.com/en/api",
    "google": "https://ai.google.dev/api",
}


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong. code: stable, for programs. hint: what to do next."""

    code: str
    message: str
    hint: str | None = None
    param: str | None = None
    retryable: bool = False


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The form of every error of the admin API."""

    error: ErrorBody


def openapi_document() -> dict[str, Any]:
    """The document, as JSON values (OpenAPI 3.1)."""
    types = [ErrorAnswer, *_types()]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for face in _FACES:
        for operation in face.operations:
            entry = _entry(face, operation, by_type)
            paths.setdefault(operation.path, {}).setdefault(operation.method.lower(), entry)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farthing",
            "version": __version__,
            "description": "One port: the vendors' model APIs, and the admin API of the gateway.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _types() -> Iterator[Any]:
    for operation in admin.FACE.operations:
        if isinstance(operation, AdminOperation):
            yield operation.gives
            if operation.takes is not None:
                yield operation.takes


def _entry(face: Face, operation: Operation, by_type: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(operation.path)
    ]
    entry: dict[str, Any] = {
        "operationId": _operation_id(face, operation),
        "summary": operation.summary,
        "tags": [face.name],
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer", "content": _content({})},
            "default": {"description": "An error in this face's own form", "content": _content({})},
        },
    }
    if face.name in _VENDOR_DOCS:
        entry["externalDocs"] = {"url": _VENDOR_DOCS[face.name]}
        if operation.method == "POST":
            entry["requestBody"] = {"required": True, "content": _content({"type": "object"})}
    if isinstance(operation, AdminOperation):
        error = by_type[repr(ErrorAnswer)]
        entry["description"] = f"Needs a key with the role `{operation.role}`."
        parameters += [
            {"name": name, "in": "query", "description": told, "schema": {"type": "string"}}
            for name, told in operation.query.items()
        ]
        entry["responses"] = {
            str(operation.status): {
                "description": "The answer",
                "content": _content(by_type[repr(operation.gives)]),
            },
            "default": {"description": "An error", "content": _content(error)},
        }
        if operation.takes is not None:
            content = _content(by_type[repr(operation.takes)])
            entry["requestBody"] = {"required": True, "content": content}
    return entry


def _operation_id(face: Face, operation: Operation) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", operation.path).strip("_") or "root"
    return f"{face.name}_{operation.method.lower()}_{words}"


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
