"""Which nodes of a flow always run, which never, and what decides of the others; as conditions of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from farthing.flows.export.layout import Chain, Expression, flat
from farthing.flows.graph import Flow, Node
from farthing.flows.references import NodeReference, Reference


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """When a node runs. condition: of one that sometimes does. ran: the nodes that have run when it does.

    same_as: the node whose flag says the same.
    """

    runs: Literal["always", "never", "sometimes"] = "always"
    condition: Chain | None = None
    ran: frozenset[str] = frozenset()
    same_as: str | None = None


ALWAYS = Branch()
NEVER = Branch(runs="never")
#: Gives the name of the variable that says whether a node has run; asking for it makes it be set.
Flag = Callable[[str], str]
#: Gives the expression of a value of the flow's file.
Written = Callable[[object], Expression]
#: Gives the expression of a reference where these nodes have run.
Value = Callable[[Reference, frozenset[str]], str]


def branches(flow: Flow, *, flag: Flag, value: Value, literal: Written) -> Mapping[str, Branch]:
    """The branch of each node that is no aggregation, by name. The rules are the engine's."""
    found: dict[str, Branch] = {}
    for node in flow.nodes:
        if not node.is_aggregation:
            found[node.name] = _branch(
                node, found, lambda name: flag(said_by(name, found)), value, literal
            )
    return found


def said_by(name: str, found: Mapping[str, Branch]) -> str:
    """The node whose flag says whether the node of this name has run."""
    return found[name].same_as or name


def _branch(
    node: Node, found: Mapping[str, Branch], flag: Flag, value: Value, literal: Written
) -> Branch:
    if node.activate is not None:
        return _activated(node, found, flag, value, literal)
    sources = node.sources()
    if not sources or any(found[name].runs == "always" for name in sources):
        return ALWAYS
    maybe = [name for name in sources if found[name].runs == "sometimes"]
    if not maybe:
        return NEVER
    before = [found[name].ran | {name} for name in maybe]
    ran = before[0].intersection(*before[1:])
    first, *rest = dict.fromkeys(flag(name) for name in maybe)
    condition = Chain((first, *(f"or {other}" for other in rest)))
    same_as = said_by(maybe[0], found) if not rest else None
    return Branch(runs="sometimes", condition=condition, ran=ran, same_as=same_as)


def _activated(
    node: Node, found: Mapping[str, Branch], flag: Flag, value: Value, literal: Written
) -> Branch:
    activate = node.activate
    assert activate is not None  # the caller has looked
    wanted = flat(literal(activate.value)) or repr(activate.value)
    reference = activate.reference
    if reference is None:
        return ALWAYS if activate.when == activate.value else NEVER
    if not isinstance(reference, NodeReference):
        return Branch(
            runs="sometimes", condition=Chain((value(reference, frozenset()), f"== {wanted}"))
        )
    source = found[reference.node]
    if source.runs == "never":
        return NEVER
    ran = {reference.node} | source.ran
    looked_at = value(reference, frozenset(ran))
    equal = (looked_at, f"== {wanted}")
    # The output of a node that has not run is None, which equals no other value.
    is_none_a_value = activate.value is None or bool(reference.path)
    if source.runs == "sometimes" and is_none_a_value:
        equal = (flag(reference.node), f"and {looked_at} == {wanted}")
    return Branch(runs="sometimes", condition=Chain(equal), ran=frozenset(ran))
