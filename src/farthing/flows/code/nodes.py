"""The bodies of Python and custom LLM nodes: a function, and the literals of the file made ready for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import msgspec

from farthing.core.errors import FlowError, FlowFormatError, did_you_mean
from farthing.flows.code.marks import EXPOSED, PromptTemplate
from farthing.flows.code.packages import package_tool
from farthing.flows.code.parameters import Literals, Signature, is_left_out, signature_of
from farthing.flows.code.source import load_function, on_path, provider_of
from farthing.flows.code.tool import NamesConnections, is_async
from farthing.flows.connections.connections import Connections
from farthing.flows.dag.includes import import_folders, located, template_of
from farthing.flows.engine.plan import Body
from farthing.flows.graph import Flow, Node, Port, wrong
from farthing.flows.references import InputReference


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as it was found. provider: the class whose method it is; inputs: what its package tells of them."""

    function: Callable[..., Any]
    provider: type | None = None
    inputs: Mapping[str, Any] = {}


def python_body(flow: Flow, node: Node, connections: Connections) -> Body:
    """The body of a node of the kinds python and custom_llm: its function imported, its literals converted.

    Raises FlowFormatError: no such function or tool, an input that it does not take or lacks, a literal of
    the wrong type; ConnectionMissingError.
    """
    tool = tool_of(flow, node)
    signature = signature_of(tool.function, tool.inputs)
    literals = Literals(flow, node, connections)
    function, ports = tool.function, node.inputs
    if tool.provider is not None:
        function, ports = _bound(tool, node, literals)
    prompt = prompt_parameter(node, signature)
    check_ports(node, ports, signature, prompt)
    fixed = literals.fixed(ports, signature)
    if prompt is not None:
        fixed[prompt] = PromptTemplate(template_of(flow, node))
    exposed = exposed_to(node, signature)
    if exposed:
        fixed[EXPOSED] = exposed
    taken = {port.name for port in ports}
    dropped = tuple(
        each.name
        for each in node.inputs
        if each.name not in taken or (is_left_out(each, signature) and each.name not in fixed)
    )
    defaults = frozenset(each.name for each in signature.parameters.values() if each.has_default)
    return Body(
        call=_call(function, fixed, dropped), is_async=is_async(function), defaults=defaults
    )


def exposed_to(node: Node, signature: Signature) -> list[str]:
    """The inputs that a custom LLM tool is told, as `EXPOSED`, to come from outside."""
    if node.kind != "custom_llm" or not signature.accepts_more:
        return []
    return [port.name for port in node.inputs if isinstance(port.reference, InputReference)]


def _call(
    function: Callable[..., Any], fixed: dict[str, Any], dropped: tuple[str, ...]
) -> Callable[..., Any]:
    """The function with the literals put in; what it returns is handed on, awaitable or not."""
    if not fixed and not dropped:
        return function

    def call(**values: Any) -> Any:
        values.update(fixed)
        for name in dropped:
            values.pop(name, None)
        return function(**values)

    return call


def tool_of(flow: Flow, node: Node) -> Tool:
    """The tool of a node, its file or package imported. Raises FlowFormatError."""
    if node.source.kind == "code":
        try:
            function = _loaded(flow, node)
        except FlowFormatError as error:
            error.node = error.node or node.name
            raise
        return Tool(function=function, provider=provider_of(function))
    try:
        with on_path(flow.folder):  # a package's tool may import a file of the flow
            found = package_tool(node.source.tool or "")
    except FlowError as error:
        raise wrong(
            f"The node '{node.name}' cannot be made. {error.message}",
            hint=error.hint,
            node=node.name,
            field="source.tool",
            span=node.span,
        ) from error
    return Tool(function=found.function, provider=found.provider, inputs=found.inputs)


def _loaded(flow: Flow, node: Node) -> Callable[..., Any]:
    file = located(flow, node.source.path or "")
    with ExitStack() as path:
        for folder in reversed(import_folders(flow)):
            path.enter_context(on_path(folder))
        if file.is_relative_to(flow.folder):
            return load_function(flow.folder, str(file.relative_to(flow.folder)), node.function)
        return load_function(file.parent, file.name, node.function)


def _bound(
    tool: Tool, node: Node, literals: Literals
) -> tuple[Callable[..., Any], tuple[Port, ...]]:
    """The method of an instance, and the inputs that are left when the constructor has had its own."""
    assert tool.provider is not None  # the caller has looked
    constructor, own = constructor_of(tool.provider, tool, node)
    try:
        instance = tool.provider(**literals.fixed(own, constructor))
    except FlowError:
        raise
    except Exception as error:  # border: the user's class
        raise wrong(
            f"{tool.provider.__name__} of the node '{node.name}' failed with {type(error).__name__} "
            "while it was made.",
            hint="Look at its __init__ and at the inputs that go to it.",
            node=node.name,
            span=node.span,
        ) from error
    if isinstance(instance, NamesConnections):
        instance.connections = literals.connections
    rest = tuple(port for port in node.inputs if port not in own)
    return getattr(instance, tool.function.__name__), rest


def constructor_of(provider: type, tool: Tool, node: Node) -> tuple[Signature, tuple[Port, ...]]:
    """What the class of a tool is made with: all that it takes, and what the node gives it.

    Raises FlowFormatError: a reference, which nobody knows before a line runs; and as `check_ports`.
    """
    constructor = signature_of(provider, tool.inputs)
    own = tuple(port for port in node.inputs if port.name in constructor.parameters)
    for port in own:
        if port.reference is not None:
            raise _wrong(
                node,
                port,
                f"goes to the constructor of {provider.__name__}, and is not known before a line runs.",
                "Write a literal.",
            )
    check_ports(node, own, constructor, None)
    return constructor, own


def check_ports(
    node: Node, ports: tuple[Port, ...], signature: Signature, prompt: str | None
) -> None:
    """Each input is taken by the tool, and what it needs is there. Raises FlowFormatError."""
    parameters = signature.parameters
    given = {port.name for port in ports if not is_left_out(port, signature)}
    for port in ports:
        is_unknown = port.name not in parameters and not signature.accepts_more
        if is_unknown and port.name in given:
            known = [name for name in parameters if name != prompt]
            raise _wrong(
                node,
                port,
                "is no parameter of its tool.",
                did_you_mean(port.name, known) or f"It takes: {', '.join(known) or 'nothing'}.",
            )
        needs = port.name in parameters and not parameters[port.name].has_default
        if needs and port.name not in given and port.name != prompt:
            raise _wrong(node, port, "is empty, and its tool has no default.", "Give it a value.")
    missing = [
        each.name
        for each in parameters.values()
        if not each.has_default and each.name not in given and each.name != prompt
    ]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise wrong(
            f"The node '{node.name}' lacks what its tool needs: {names}.",
            hint="Add it to the node's inputs, or give the parameter a default.",
            node=node.name,
            field=f"inputs.{missing[0]}",
            span=node.span,
        )


def prompt_parameter(node: Node, signature: Signature) -> str | None:
    """The parameter that gets the template: the one that is marked, else `prompt`."""
    if node.kind != "custom_llm" and node.source.kind != "package_with_prompt":
        return None
    if not node.source.path or node.source.kind == "code":
        return None
    marked = [n for n, each in signature.parameters.items() if each.kind == "prompt_template"]
    if marked:
        return marked[0]
    if "prompt" in signature.parameters or signature.accepts_more:
        return "prompt"
    raise wrong(
        f"The tool of the node '{node.name}' has no parameter for its template.",
        hint="Add `prompt: PromptTemplate` to it.",
        node=node.name,
        field="source",
        span=node.span,
    )


def _wrong(node: Node, port: Port, message: str, hint: str) -> FlowFormatError:
    return wrong(
        f"'{port.name}' of the node '{node.name}' {message}",
        hint=hint,
        node=node.name,
        field=f"inputs.{port.name}",
        span=port.span,
    )
