"""Connections as YAML files have them: read, filled in, shown without their secrets, written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import yaml
from farthing.flows.connections.types import (
    MANAGED,
    TYPES,
    Connection,
    CustomConnection,
    CustomStrongTypeConnection,
)
from farthing.flows.graph import Span
from farthing.flows.yaml import Table

#: One connection as its file has it.
Document = dict[str, Any]

#: What stands for a secret where it is shown.
SCRUBBED = "******"
#: The mappings of a custom connection.
PARTS = ("configs", "secrets")

#: What samples write where a secret is to be filled in: nothing, stars, `<user-input>`.
_PLACEHOLDER = re.compile(r"\**|<[\w -]+>")
#: A value that is not the secret but says where it is.
_ELSEWHERE = re.compile(r"\$\{env:[^}]+\}")
#: The other spelling of a type: as in `AzureOpenAI`.
_SPELLINGS = {kind.TYPE: name for name, kind in TYPES.items()}


def read(file: Path, values: Mapping[str, str] = {}) -> Document:
    """The connection that a YAML file describes, with some of its fields set. Raises FlowFormatError."""
    table = Table(
        yaml.read(file), path=str(file), name="The connection", span=Span(str(file)), node=None
    )
    document: Document = {key: table.raw(key) for key in table if key != "$schema"}
    for key, value in values.items():
        part, dot, inner = key.partition(".")
        if dot and part in PARTS:
            document[part] = {**(document.get(part) or {}), inner: value}
        else:
            document[key] = value
    kind = str(document.get("type") or "")
    kind = document["type"] = _SPELLINGS.get(kind, kind)
    if kind not in TYPES:
        raise table.wrong(
            f"has the type '{kind}', which there is not." if kind else "has no type.",
            "type",
            hint=did_you_mean(kind, TYPES) or f"Known: {', '.join(TYPES)}.",
        )
    known = (*fields_of(TYPES[kind]), *PARTS, "name", "type", "module", "custom_type", "package")
    for name, parameter in fields_of(TYPES[kind]).items():
        if parameter.default is inspect.Parameter.empty and document.get(name) is None:
            raise table.wrong(f"has no {name}.", hint=did_you_mean(name, document))
        near = did_you_mean(name, [key for key in document if key not in known])
        if near and name not in document:
            raise table.wrong(f"has a key that is nearly '{name}'.", hint=f"Write {name}: instead.")
    return document


def fields_of(kind: type[Connection]) -> dict[str, inspect.Parameter]:
    """The fields that a type's constructor takes."""
    skipped = ("self", "told")
    parameters = inspect.signature(kind.__init__).parameters
    return {name: each for name, each in parameters.items() if name not in skipped}


def secrets_of(document: Document) -> list[tuple[Document, str]]:
    """Each secret of a document: the mapping that holds it, and its key there."""
    if document["type"] == CustomConnection.YAML:
        secrets = document.get("secrets") or {}
        return [(secrets, key) for key in secrets]
    return [(document, "api_key")] if "api_key" in document else []


def fill_secrets(
    document: Document, old: Document, ask: Callable[[str], str] | None, path: str
) -> None:
    """Put in the secrets that the document leaves open: from `old`, else asked for. Raises FlowFormatError."""
    kept = {key: held[key] for held, key in secrets_of(old)} if old else {}
    if document.get("auth_mode") in MANAGED:
        return  # there is none, whatever stands in its place
    for held, key in secrets_of(document):
        if not _PLACEHOLDER.fullmatch(str(held[key] or "")):
            continue
        if key in kept:
            held[key] = kept[key]
        elif ask is not None:
            held[key] = ask(key)
        else:
            raise FlowFormatError(
                f"The connection's secret '{key}' is not filled in.",
                hint=f"Give it with --set {key}=…, or write {key}: ${{env:NAME}} in the file.",
                path=path,
                field=key,
            )


def scrubbed(document: Document) -> Document:
    """The document without its secrets; what only says where a secret is stays."""
    shown = {key: dict(v) if isinstance(v, Mapping) else v for key, v in document.items()}
    for held, key in secrets_of(shown):
        if not _ELSEWHERE.fullmatch(str(held[key])):
            held[key] = SCRUBBED
    return shown


def document_of(connection: Connection) -> Document:
    """What a file would have for this object."""
    kind = next((name for name, each in TYPES.items() if each.TYPE == connection.TYPE), "custom")
    document: Document = {"name": connection.name, "type": kind}
    if kind != CustomConnection.YAML:
        fields = {**connection.configs, **connection.secrets}
        return {**document, **{key: value for key, value in fields.items() if value is not None}}
    document.update(configs=dict(connection.configs), secrets=dict(connection.secrets))
    if isinstance(connection, CustomStrongTypeConnection):
        document.update(custom_type=type(connection).__name__, module=type(connection).__module__)
    return document
