"""`run.yml`: what prompt flow's `run create --file` is told, read into one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, FlowInputError, did_you_mean
from farthing.core.private import PrivateStruct
from farthing.flows import yaml
from farthing.flows.batch.records import Definition
from farthing.flows.graph import Span
from farthing.flows.isolation.settings import AUTO, isolation_of
from farthing.flows.yaml import Table

_KEYS = (
    "name",
    "display_name",
    "description",
    "flow",
    "data",
    "run",
    "column_mapping",
    "variant",
    "connections",
    "environment_variables",
    "properties",
    "tags",
    "init",
    "resume_from",
    "isolate",
)
#: Keys that mean something in Azure only.
_OF_THE_CLOUD = ("resources", "identity", "runtime")
_SILENT = ("$schema", "type")
_REMOTE = ("azureml:", "http://", "https://")


class RunFile(PrivateStruct, frozen=True, kw_only=True):
    """A run that was asked for in a file. Paths are absolute.

    environment_variables: values may be `${connection.key}`. init: for the class of a flex flow. isolate: a
    key of ours, see `isolation.settings.isolation_of`. notes: what was left aside, for the user.
    """

    path: Path
    name: str | None = None
    flow: Path | None = None
    data: Path | None = None
    run: str | None = None
    column_mapping: Mapping[str, Any] = {}
    variant: str | None = None
    connections: Mapping[str, Mapping[str, str]] = {}
    environment_variables: Mapping[str, str] = {}
    init: Mapping[str, Any] = {}
    resume_from: str | None = None
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    properties: Mapping[str, str] = {}
    isolate: str | None = None
    notes: tuple[str, ...] = ()

    def definition(self) -> Definition:
        """What is kept with the run: all but the values that may be secret."""
        return Definition(
            flow=str(self.flow or ""),
            data=None if self.data is None else str(self.data),
            run=self.run,
            column_mapping=dict(self.column_mapping),
            variant=self.variant,
            connections={node: dict(each) for node, each in self.connections.items()},
            display_name=self.display_name,
            description=self.description,
            tags=dict(self.tags),
            properties=dict(self.properties),
            run_file=str(self.path),
            environment=tuple(self.environment_variables),
            init=tuple(self.init),
            resume_from=self.resume_from,
            isolate=self.isolate,
        )


def load(path: Path) -> RunFile:
    """Read a run's file. Raises FlowFormatError: a value of the wrong kind, no flow, no source of lines."""
    document = yaml.read(path)
    top = Table(document, path=str(path), name="The run", span=Span(str(path)), node=None)
    resume_from = top.text("resume_from")
    if resume_from is None:
        top.required("flow", hint="Name the flow's folder or file.")
        if "data" not in top and "run" not in top:
            raise top.wrong(
                "has neither data nor run, so it has no lines.",
                hint="Add data: FILE, or run: the name of an earlier run.",
            )
    return RunFile(
        path=path.resolve(),
        name=top.text("name"),
        flow=_path(top, "flow", path),
        data=_path(top, "data", path),
        run=top.text("run"),
        column_mapping=_mapping(top, "column_mapping"),
        variant=top.text("variant"),
        connections=_connections(top),
        environment_variables=_environment(top, path),
        init=_init(top, path),
        resume_from=resume_from,
        display_name=top.text("display_name") or "",
        description=top.text("description") or "",
        tags=_texts(_mapping(top, "tags")),
        properties=_texts(_mapping(top, "properties")),
        isolate=_isolate(top),
        notes=tuple(_notes(top)),
    )


def dotenv(text: str) -> dict[str, str]:
    """The variables of a .env file: `NAME=value` lines, `export`, quotes and `#` comments known."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or name.startswith("#"):
            continue
        if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = value.partition(" #")[0].rstrip()
        found[name] = value
    return found


def _path(top: Table, key: str, path: Path) -> Path | None:
    """The path under a key, meant from the file's folder. It must exist."""
    text = top.text(key)
    if text is None:
        return None
    if text.startswith(_REMOTE):
        raise top.wrong(
            f"has a {key} that is not on this machine.",
            key,
            hint="Copy it here, and name its path.",
        )
    found = (path.parent / text).resolve()
    if not found.exists():
        near = None
        if found.parent.is_dir():
            near = did_you_mean(found.name, [each.name for each in found.parent.iterdir()])
        raise top.wrong(
            f"names the {key} '{text}', and there is no {found}.",
            key,
            hint=near or "Paths are meant from the folder of this file.",
        )
    return found


def _mapping(top: Table, key: str) -> dict[str, Any]:
    table = top.table(key, f"{key} of the run")
    return {name: table.raw(name) for name in table}


def _isolate(top: Table) -> str | None:
    """A number of processes, `line`, or true for the default; false is as if it were not there."""
    value = top.raw("isolate")
    if value is None or value is False:
        return None
    told = AUTO if value is True else str(value)
    try:
        isolation_of(told)
    except FlowInputError as error:
        raise top.wrong(
            f"has isolate: {told[:40]}, which is none.", "isolate", hint=error.hint
        ) from None
    return told


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in values.items()}


def _connections(top: Table) -> dict[str, dict[str, str]]:
    """By node: its connection, and its deployment_name or model."""
    nodes = top.table("connections", "connections of the run")
    found: dict[str, dict[str, str]] = {}
    for node in nodes:
        table = nodes.table(node, f"The override of '{node}'", node=node)
        found[node] = {key: table.text(key) or "" for key in table}
    return found


def _environment(top: Table, path: Path) -> dict[str, str]:
    """A mapping, or the name of a .env file."""
    value = top.raw("environment_variables")
    if not isinstance(value, str):
        return _texts(_mapping(top, "environment_variables"))
    return dotenv(_content(top, "environment_variables", path.parent / value))


def _init(top: Table, path: Path) -> dict[str, Any]:
    """A mapping, or the name of a JSON file with one."""
    value = top.raw("init")
    if not isinstance(value, str):
        return _mapping(top, "init")
    try:
        found = json.loads(_content(top, "init", path.parent / value))
    except ValueError as error:
        raise top.wrong(
            f"names the file '{value}' for init, which is no JSON.",
            "init",
            hint=f"See its line {getattr(error, 'lineno', 1)}.",
        ) from None
    if not isinstance(found, dict):
        raise top.wrong(
            f"names the file '{value}' for init, which is no JSON object.",
            "init",
            hint="Write an object of parameter names and values.",
        )
    return found


def _content(top: Table, key: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise _unread(top, key, file, reason) from None


def _unread(top: Table, key: str, file: Path, reason: str) -> FlowFormatError:
    return top.wrong(
        f"names the file {file} for {key}, which cannot be read: {reason}.",
        key,
        hint="Paths are meant from the folder of this file.",
    )


def _notes(top: Table) -> list[str]:
    notes = []
    for key in top:
        if key in _KEYS or key in _SILENT:
            continue
        if key in _OF_THE_CLOUD:
            notes.append(f"'{key}' is for runs in Azure and is ignored here.")
        else:
            near = did_you_mean(key, (*_KEYS, *_OF_THE_CLOUD))
            notes.append(f"'{key}' is no key of a run and is ignored.{' ' + near if near else ''}")
    return notes
