"""Connections by name: a store that its owner alone can read, YAML files, and the environment's variables."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from farthing.core.errors import FlowError, FlowFormatError, did_you_mean
from farthing.flows import yaml
from farthing.flows.connections.files import (
    PARTS,
    Document,
    document_of,
    fields_of,
    fill_secrets,
    read,
    scrubbed,
)
from farthing.flows.connections.types import (
    CUSTOM_MODULE,
    CUSTOM_TYPE,
    TYPES,
    VARIABLES,
    AzureAIServicesConnection,
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    Connection,
    CustomConnection,
    CustomStrongTypeConnection,
    FormRecognizerConnection,
    OpenAIConnection,
    QdrantConnection,
    SerpConnection,
    ServerlessConnection,
    WeaviateConnection,
    from_environment,
)
from farthing.flows.graph import Node, wrong
from farthing.flows.prompts.requests import Vendor

__all__ = [
    "STORE",
    "AzureAIServicesConnection",
    "AzureContentSafetyConnection",
    "AzureOpenAIConnection",
    "CognitiveSearchConnection",
    "Connection",
    "ConnectionMissingError",
    "Connections",
    "CustomConnection",
    "CustomStrongTypeConnection",
    "FormRecognizerConnection",
    "Listed",
    "OpenAIConnection",
    "QdrantConnection",
    "SerpConnection",
    "ServerlessConnection",
    "WeaviateConnection",
]

#: Where connections are kept, below the project's folder.
STORE = Path(".farthing") / "connections.yaml"

_ENVIRONMENT = re.compile(r"\$\{env:(?P<name>[^}]+)\}")
_VENDORS: Mapping[str, Vendor] = {
    "AzureOpenAI": "AzureOpenAI",
    "OpenAI": "OpenAI",
    "Serverless": "OpenAI",
}


class ConnectionMissingError(FlowError):
    """A flow names a connection that is not configured. connection: its name."""

    code = "connection_missing"
    status = 400

    def __init__(
        self, message: str, *, connection: str, hint: str | None = None, node: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, node=node)
        self.connection = connection


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as a list shows it. type: as in YAML. source: where it comes from."""

    name: str
    type: str
    source: str


class Connections:
    """The connections that a project's flows may name.

    folder: of the project, with the store; without one there is none. files: more of them, each as `pf
    connection create` reads it. given: ready ones, which come first.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        given: Mapping[str, Connection] = {},
        files: Iterable[Path] = (),
    ) -> None:
        """Raises FlowFormatError: one of the files is no connection."""
        self._store = folder / STORE if folder is not None else None
        self._environ = environ
        self._given = dict(given)
        self._files: dict[str, Document] = {}
        for file in files:
            document = read(file)
            self._files[str(document.get("name") or file.stem)] = document

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which has the same variables of its own."""
        state = dict(vars(self))
        if self._environ is os.environ:
            state["_environ"] = None
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        if state["_environ"] is None:
            self._environ = os.environ

    # --- for flows ---

    def get(self, name: str, node: str | None = None, wanted: Iterable[str] = ()) -> Connection:
        """The connection of that name, its `${env:NAME}` filled in.

        wanted: the classes that will do, by name; of the types that call models, one that is configured
        nowhere is taken from the environment's variables. Raises ConnectionMissingError, FlowFormatError.
        """
        kinds = tuple(wanted)
        found = self._configured(name) or self._from_environment(name, kinds)
        if found is None:
            raise self._missing(name, node, kinds)
        if kinds and type(found).__name__ not in kinds:
            raise FlowFormatError(
                f"The connection '{name}' is a {type(found).__name__}; wanted: {' or '.join(kinds)}.",
                hint="Name another connection, or create this one with the right type.",
                node=node,
            )
        return found

    def vendor(self, name: str, node: Node, *, is_strict: bool = False) -> Vendor:
        """Whose rules the requests of an LLM node follow: the connection's type decides.

        One that is not configured will do unless `is_strict`, because LLM nodes are served by the
        gateway; then the node's provider counts, Azure's by default. Raises ConnectionMissingError,
        FlowFormatError: a type that serves no models.
        """
        found = self._configured(name)
        if found is not None:
            vendor = _VENDORS.get(found.type)
            if vendor is None:
                raise wrong(
                    f"The node '{node.name}' names the connection '{name}', a {found.class_name} "
                    "that serves no models.",
                    hint="Name a connection of the type azure_open_ai, open_ai or serverless.",
                    node=node.name,
                    field="connection",
                    span=node.span,
                )
            return vendor
        if is_strict and self._from_environment(name, ()) is None:
            raise self._missing(name, node.name, ())
        return "OpenAI" if node.provider == "OpenAI" else "AzureOpenAI"

    # --- for people ---

    def create(
        self,
        file: Path,
        *,
        name: str | None = None,
        values: Mapping[str, str] = {},
        ask: Callable[[str], str] | None = None,
    ) -> Connection:
        """Keep the connection that a YAML file describes; one of the same name is replaced.

        values: fields to set, as in `api_key` or `secrets.api_key`. ask: for a secret that the file leaves
        open and that is not kept yet. Raises FlowFormatError.
        """
        document = read(file, values)
        kept = name or document.get("name")
        if not kept:
            raise FlowFormatError(
                "The connection has no name.", hint="Add name:, or give it with -n.", path=str(file)
            )
        document["name"] = str(kept)
        old = self._stored().get(str(kept), {})
        fill_secrets(document, old, ask, str(file))
        made = self._built(str(kept), document)
        self._keep({**self._stored(), str(kept): document})
        return made

    def add(self, connection: Connection, *, name: str | None = None) -> None:
        """Keep a connection that is an object; one of the same name is replaced. Raises FlowError."""
        kept = name or connection.name
        if not kept:
            raise FlowError("The connection has no name.", hint="Give it one with name=.")
        connection.name = kept
        self._keep({**self._stored(), kept: document_of(connection)})

    def show(self, name: str) -> Document:
        """The connection as its file has it, secrets scrubbed. Raises ConnectionMissingError."""
        documents = self._documents()
        if name not in documents:
            raise self._missing(name, None, ())
        return scrubbed(documents[name])

    def delete(self, name: str) -> None:
        """Forget a connection of the store. Raises ConnectionMissingError."""
        stored = self._stored()
        if name not in stored:
            raise self._missing(name, None, ())
        del stored[name]
        self._keep(stored)

    def names(self) -> tuple[str, ...]:
        """The names that are configured, sorted."""
        return tuple(sorted(self._documents()))

    def list(self) -> tuple[Listed, ...]:
        """What is configured, by name."""
        stored = self._stored()
        return tuple(
            Listed(
                name=name,
                type=str(document.get("type")),
                source=self._source(name, stored),
            )
            for name, document in sorted(self._documents().items())
        )

    # --- within ---

    def _source(self, name: str, stored: Mapping[str, Document]) -> str:
        if name in self._given:
            return "given"
        return "store" if name in stored else "file"

    def _documents(self) -> dict[str, Document]:
        given = {name: document_of(each) for name, each in self._given.items()}
        return {**self._files, **self._stored(), **given}

    def _configured(self, name: str) -> Connection | None:
        if name in self._given:
            return self._given[name]
        document = self._stored().get(name) or self._files.get(name)
        return self._built(name, document) if document is not None else None

    def _from_environment(self, name: str, wanted: tuple[str, ...]) -> Connection | None:
        for kind in VARIABLES:
            if not wanted or kind.__name__ in wanted:
                found = from_environment(kind, self._environ, name)
                if found is not None:
                    return found
        return None

    def _built(self, name: str, document: Document) -> Connection:
        fields = {
            key: self._filled(value, f"{name}.{key}")
            for key, value in document.items()
            if key in fields_of(TYPES[document["type"]]) or key in PARTS
        }
        if document.get("custom_type"):
            fields["configs"] = {
                **fields.get("configs", {}),
                CUSTOM_TYPE: document["custom_type"],
                CUSTOM_MODULE: document.get("module"),
            }
        return TYPES[document["type"]](name=name, **fields)

    def _filled(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            return {key: self._filled(each, f"{where}.{key}") for key, each in value.items()}
        if not isinstance(value, str):
            return value

        def look_up(found: re.Match[str]) -> str:
            variable = found["name"]
            if variable not in self._environ:
                raise FlowError(
                    f"The connection's {where} is ${{env:{variable}}}, and that variable is not set.",
                    hint=f"Set {variable}, or create the connection anew.",
                )
            return self._environ[variable]

        return _ENVIRONMENT.sub(look_up, value)

    def _missing(
        self, name: str, node: str | None, wanted: tuple[str, ...]
    ) -> ConnectionMissingError:
        names = self.names()
        known = did_you_mean(name, names) or f"Configured: {', '.join(names) or 'none'}."
        hint = f"{known} Create it: farthing pf connection create --file FILE --name {name}."
        variables = [fields for kind, fields in VARIABLES.items() if kind.__name__ in wanted]
        if variables:
            hint += f" Or set {variables[0]['api_key'][0]} and what goes with it."
        who = f"The node '{node}' names the connection" if node else "There is no connection"
        what = "', which is not configured." if node else "'."
        return ConnectionMissingError(f"{who} '{name}{what}", connection=name, hint=hint, node=node)

    def _stored(self) -> dict[str, Document]:
        if self._store is None or not self._store.is_file():
            return {}
        return {str(name): yaml.plain(each) for name, each in yaml.read(self._store).items()}

    def _keep(self, documents: Mapping[str, Document]) -> None:
        if self._store is None:
            raise FlowError(
                "Connections cannot be kept without a project's folder.",
                hint="Run the command in the folder of the project.",
            )
        folder = self._store.parent
        folder.mkdir(parents=True, exist_ok=True)
        ignored = folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text(f"{self._store.name}\n", encoding="utf-8")
        text = io.StringIO()
        YAML(typ="rt").dump(dict(documents), text)
        beside = folder / f".{self._store.name}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        # Nobody else may read it, not even between its making and its renaming.
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text.getvalue())
        beside.replace(self._store)
