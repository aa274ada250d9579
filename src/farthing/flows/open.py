"""Opens a flow of any kind: a DAG, a flex flow, a prompty, a function; a folder or a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from farthing.base.clock import Clock
from farthing.core.errors import FlowFormatError, FlowInputError, did_you_mean
from farthing.flows.dag import format as dag
from farthing.flows.flex import format as flexfile
from farthing.flows.graph import Flow
from farthing.flows.models import Models
from farthing.flows.prompty.file import SUFFIX
from farthing.flows.runnable import Runnable
from farthing.flows.variants.choices import choices_of

if TYPE_CHECKING:
    from farthing.flows.connections.connections import Connections
    from farthing.flows.prompts.fetch import ImageFetcher
    from farthing.flows.prompty.prompty import Prompty
    from farthing.flows.python.flow import PythonFlow

Kind = Literal["dag", "flex", "prompty", "python"]
#: Files that make a folder a flow.
_FILES: dict[str, Kind] = {
    dag.FILE: "dag",
    "flow.dag.yml": "dag",
    flexfile.FILE: "flex",
    "flow.flex.yml": "flex",
}
_ENTRY = re.compile(rb"^[\"']?entry[\"']?[ \t]*:", re.MULTILINE)
#: The value of an environment variable that is a field of a connection.
CONNECTION_VALUE = re.compile(r"\$\{([^.{}]+)\.([^.{}]+)\}")


def open_flow(
    path: str | os.PathLike[str] | Callable[..., Any] | Flow,
    *,
    models: Models,
    connections: Connections,
    clock: Clock,
    variant: str | None = None,
    init: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    is_streaming: bool = False,
    images: ImageFetcher | None = None,
    **limits: Any,
) -> Runnable:
    """Open what is at `path`; or a graph, function, class, object or Prompty that is passed straight.

    variant: `${node.variant}`, one or several, of a DAG. init: of a flex class; of a prompty what to change
    in its front matter. environment: variables, which count before those of the flow's file; all of them are
    set in this process. is_streaming: outputs that come piece by piece are asynchronous generators, else
    joined texts. images: fetches those that a graph's inputs give by address. limits: `threads`,
    `line_timeout_s`; of a DAG `around` too. Raises FlowFormatError, FlowInputError, ConnectionMissingError.
    """
    given: dict[str, Any] = {
        "models": models,
        "clock": clock,
        "is_streaming": is_streaming,
        **limits,
    }
    told = environment or {}
    if isinstance(path, Flow):
        return _open_dag(varied(path, variant), connections, told, {**given, "images": images})
    if not isinstance(path, str | os.PathLike):
        if variant:
            raise _no_variants("A function or a prompty object")
        set_environment(told, connections)
        return _open_object(path, connections, init, given, images)
    kind, file = find_flow(Path(path))
    if kind == "dag":
        if init:
            raise FlowInputError(
                f"{file} is a graph of nodes, which takes no init values.",
                hint="Leave init away; give the values as inputs.",
            )
        flow = varied(dag.load(file), variant)
        return _open_dag(flow, connections, told, {**given, "images": images})
    if variant:
        raise _no_variants(str(file))
    if kind == "python":
        set_environment(told, connections)
        return _open_object(_function(file, connections), connections, init, given, images)
    declared = {} if kind == "prompty" else flexfile.load(file).environment
    set_environment({**declared, **told}, connections, file)
    return _open_object(file, connections, init, given, images)


def varied(flow: Flow, variant: str | None) -> Flow:
    """The flow with the variants that `${node.variant}`, one or several, name.

    Raises FlowInputError, FlowFormatError.
    """
    return flow.with_variants(choices_of(variant)) if variant else flow


def folder_at(path: Path) -> Path:
    """The folder of the flow at a path. Raises FlowFormatError where there is none."""
    _, file = find_flow(path)
    return file.parent


def find_flow(path: Path) -> tuple[Kind, Path]:
    """Which kind of flow is at a path, and its file. Raises FlowFormatError for anything else.

    Of one written in Python the path may say which is meant: `flows.py:answer`; it comes back as it is.
    """
    if _python_file(path).is_file():
        return "python", path
    if path.is_file():
        if path.suffix == SUFFIX:
            return "prompty", path
        if path.suffix in (".yaml", ".yml"):
            return ("flex" if is_flex(path) else "dag"), path
        raise FlowFormatError(
            "This is no flow.",
            hint="A flow is a flow.dag.yaml, a flow.flex.yaml, a .prompty file, a folder with one of them, "
            "or a .py file with @farthing.flow in it.",
            path=str(path),
        )
    if not path.is_dir():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FlowFormatError(
            "There is no such file or folder.", hint=did_you_mean(path.name, beside), path=str(path)
        )
    found = [path / name for name in _FILES if (path / name).is_file()]
    if not found:
        found = sorted(path.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        kind = _FILES.get(found[0].name, "prompty")
        return ("flex" if kind == "dag" and is_flex(found[0]) else kind), found[0]
    if found:
        names = ", ".join(each.name for each in found)
        raise FlowFormatError(
            f"This folder has more than one flow: {names}.",
            hint=f"Name one of them, e.g. {found[0]}.",
            path=str(path),
        )
    raise FlowFormatError(
        "There is no flow in this folder.",
        hint="It should have a flow.dag.yaml, a flow.flex.yaml or one .prompty file.",
        path=str(path),
    )


def is_flex(file: Path) -> bool:
    """Whether a YAML file is a flex flow's: by its name, or because it has an entry, whatever its name."""
    if file.stem.endswith(".flex"):
        return True
    try:
        return _ENTRY.search(file.read_bytes()) is not None
    except OSError:
        return False  # who reads it tells


def _python_file(path: Path) -> Path:
    """The file of `flows.py:answer` and of `flows.py`; of another path nothing that exists."""
    file, colon, _ = str(path).rpartition(":")
    file = file if colon and file.endswith(".py") else str(path)
    return Path(file) if file.endswith(".py") else Path()


def _function(path: Path, connections: Connections) -> PythonFlow[..., Any]:
    """The flow of a Python file: the one that is named, else its only one. Raises FlowFormatError."""
    from farthing.flows.code.source import load_module
    from farthing.flows.python.connection import known
    from farthing.flows.python.flow import PythonFlow

    file = _python_file(path)
    with known(connections):  # its code may look for one while it is imported
        module = load_module(file.parent, file.name)
    flows = {name: each for name, each in vars(module).items() if isinstance(each, PythonFlow)}
    wanted = "" if path == file else str(path).rpartition(":")[2]
    if wanted in flows:
        return flows[wanted]
    if not wanted and len(flows) == 1:
        return next(iter(flows.values()))
    if wanted:
        message = f"It has no flow '{wanted}'."
        hint = did_you_mean(wanted, list(flows)) or f"Its flows: {', '.join(flows) or 'none'}."
    else:
        message = f"It has {len(flows) or 'no'} flows{': ' if flows else ''}{', '.join(flows)}."
        hint = (
            f"Name one of them: {file}:{next(iter(flows))}."
            if flows
            else "Write @farthing.flow above an asynchronous function."
        )
    raise FlowFormatError(message, hint=hint, path=str(file))


def set_environment(
    environment: Mapping[str, str], connections: Connections, file: Path | None = None
) -> None:
    """Set what a flow's file says of the environment, in this process; see `environment_of`."""
    os.environ.update(environment_of(environment, connections, file))


def environment_of(
    environment: Mapping[str, str], connections: Connections, file: Path | None = None
) -> dict[str, str]:
    """Variables with their values; `${connection.key}` takes one from a connection.

    file: for errors. Raises FlowFormatError, ConnectionMissingError.
    """
    made = {}
    for name, value in environment.items():
        found = CONNECTION_VALUE.fullmatch(value)
        if found is None:
            made[name] = value
            continue
        connection = connections.get(found[1])
        told = getattr(connection, found[2], None)
        if told is None:
            raise FlowFormatError(
                f"The environment variable {name} is '{value}', and '{found[1]}' has no '{found[2]}'.",
                hint=did_you_mean(found[2], ("api_base", "api_key", "api_type", "api_version"))
                or "Name a field of the connection, e.g. api_base.",
                field=f"environment_variables.{name}",
                path=str(file) if file is not None else None,
            )
        made[name] = str(told)
    return made


def _open_dag(
    flow: Flow, connections: Connections, environment: Mapping[str, str], given: dict[str, Any]
) -> Runnable:
    from farthing.flows.cache import NodeCache
    from farthing.flows.dag.flow import DagFlow

    variables = {**flow.environment, **environment}
    set_environment(variables, connections, flow.folder / dag.FILE)
    return DagFlow(flow, connections=connections, cache=NodeCache(), **given)


def _open_object(
    source: Path | Callable[..., Any],
    connections: Connections,
    init: Mapping[str, Any] | None,
    given: dict[str, Any],
    images: ImageFetcher | None,
) -> Runnable:
    # Each kind is imported when it is opened: a command that runs a graph pays for a graph.
    if _is_prompty(source):
        from farthing.flows.prompty.flow import PromptyFlow

        given.pop("threads", None)  # it has no functions to run
        return PromptyFlow(source, init=init, **given)
    from farthing.flows.flex.flow import FlexFlow, StandIn

    if init and isinstance(source, StandIn) and not isinstance(source, type):
        name = getattr(source, "__name__", "it")
        raise FlowInputError(
            f"The flow '{name}' is a function, which takes no init values.",
            hint="Leave init away; give the values as inputs.",
        )
    flow = FlexFlow(source, connections=connections, init=init, **given)
    if not flow.has_stand_in:
        return flow
    from farthing.flows.python.flow import OpenPythonFlow

    threads = {"threads": given["threads"]} if "threads" in given else {}
    clock = given["clock"]
    return OpenPythonFlow(flow, clock, connections=connections, images=images, **threads)


def _is_prompty(source: Path | Callable[..., Any]) -> TypeGuard[Path | Prompty]:
    if isinstance(source, Path):
        return source.suffix == SUFFIX
    from farthing.flows.prompty.prompty import Prompty

    return isinstance(source, Prompty)


def _no_variants(what: str) -> FlowInputError:
    return FlowInputError(
        f"{what} has no variants.",
        hint="Only nodes of a flow.dag.yaml have them; leave variant away.",
    )
