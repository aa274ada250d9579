"""The function that is the flow, and the one behind all lines: nodes awaited in order, each when it is to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from farthing.flows.export.branches import NEVER, Branch, branches, said_by
from farthing.flows.export.inputs import Inputs
from farthing.flows.export.layout import (
    Chain,
    Expression,
    Group,
    Item,
    call,
    flat,
    keyword,
    lines,
    text,
)
from farthing.flows.export.parts import Parts
from farthing.flows.export.written import Argument, NodeCode
from farthing.flows.graph import Flow, Output
from farthing.flows.references import InputReference, NodeReference, Reference

_NOTHING: frozenset[str] = frozenset()


class Body:
    """The statements of a flow. codes: of its nodes, by name."""

    def __init__(
        self, flow: Flow, codes: Mapping[str, NodeCode], inputs: Inputs, parts: Parts
    ) -> None:
        self._inputs = inputs
        self._flow = flow
        self._codes = codes
        self._parts = parts
        self._flags: dict[str, str] = {}
        self._outputs = {name: parts.names.take(f"{name}_output") for name in codes}
        self._branches: Mapping[str, Branch] = {}
        self._branches = branches(flow, flag=self._flag, value=self._value, literal=parts.literal)

    # --- a line ---

    def line(self) -> list[str]:
        """The statements of a line, at the depth of a function's body."""
        results = [self._result(output) for output in self._flow.outputs]
        steps = list(self._steps())  # all that needs a flag has asked for it now
        made = [line for step in steps for line in self._written(step)]
        return [*made, *lines("return ", Group("{", tuple(results), "}"), depth=1)]

    def _steps(self) -> Iterator[list[tuple[NodeCode, Group]]]:
        """Nodes with their calls, those that run at once together."""
        depths: dict[str, int] = {}
        for node in self._flow.nodes:
            if not node.is_aggregation:
                depths[node.name] = 1 + max((depths[each] for each in node.sources()), default=0)
        ordered = sorted(depths, key=lambda name: depths[name])
        for _, group in groupby(ordered, key=lambda name: depths[name]):
            names = list(group)
            always = [name for name in names if self._branches[name].runs == "always"]
            if always:
                yield [(self._codes[name], self._call(self._codes[name])) for name in always]
            for name in names:
                if self._branches[name].runs == "sometimes":
                    yield [(self._codes[name], self._call(self._codes[name]))]

    def _written(self, step: list[tuple[NodeCode, Group]]) -> list[str]:
        code, called = step[0]
        name = code.node.name
        if len(step) > 1:
            return self._at_once(step)
        if self._branches[name].runs == "always":
            return lines(f"{self._outputs[name]} = await ", called, depth=1)
        return [
            f"    {self._outputs[name]} = None",
            *self._condition(name),
            *lines(f"{self._outputs[name]} = await ", called, depth=2),
        ]

    def _at_once(self, step: list[tuple[NodeCode, Group]]) -> list[str]:
        gather = f"{self._parts.use('asyncio')}.gather"
        together = call(gather, [Item(called) for _, called in step])
        names = [self._outputs[code.node.name] for code, _ in step]
        told = f"{', '.join(names)} = await "
        if len(told) + len(gather) + 6 <= 88:  # one line, as far as the parenthesis
            return lines(told, together, depth=1)
        head = lines("", Group("(", tuple(map(Item, names)), ")", is_apart=True), depth=1)
        rest = lines(") = await ", together, depth=1)
        return [*head[:-1], *rest]

    def _condition(self, name: str) -> list[str]:
        branch = self._branches[name]
        assert branch.condition is not None  # it runs sometimes
        flag = self._flags.get(name)
        if flag is None or branch.same_as is not None:
            return lines("if ", branch.condition, ":", depth=1)
        one = f"    if {flag} := {flat(branch.condition)}:"
        if len(one) <= 88:
            return [one]
        return [*lines(f"{flag} = ", branch.condition, depth=1), f"    if {flag}:"]

    def _call(self, code: NodeCode) -> Group:
        ran = self._branches[code.node.name].ran
        items = [item for each in code.arguments if (item := self._argument(code, each, ran))]
        return call(code.name, items)

    def _argument(self, code: NodeCode, argument: Argument, ran: frozenset[str]) -> Item | None:
        reference = argument.reference
        if reference is None:
            return keyword(argument.name, argument.value)
        if isinstance(reference, InputReference):
            return keyword(argument.name, self._value(reference, ran))
        branch = self._branches.get(reference.node, NEVER)
        has_default = argument.name in code.defaults
        if branch.runs == "never":
            return None if has_default else keyword(argument.name, "None")
        is_sure = branch.runs == "always" or reference.node in ran
        default = code.defaults.get(argument.name)
        if is_sure or not has_default or default is None:
            return keyword(argument.name, self._value_or_none(reference, ran))
        flag = self._flag(said_by(reference.node, self._branches))
        value = self._value(reference, ran)
        if isinstance(default, bool | int | str):
            chosen = Chain((value, f"if {flag}", f"else {flat(self._parts.literal(default))}"))
            return keyword(argument.name, chosen)
        given = Group("{", (Item(value, f"{text(argument.name)}: "),), "}")
        return Item(Chain((f"{flat(given)}", f"if {flag}", "else {}")), "**")

    # --- references ---

    def _flag(self, name: str) -> str:
        """The variable that says whether a node has run; a node that others speak for has none."""
        if name not in self._flags:
            self._flags[name] = self._parts.names.take(f"{name}_runs", f"{name}_has_run")
        return self._flags[name]

    def _value(self, reference: Reference, ran: frozenset[str]) -> str:
        """What a reference leads to, where its node has run."""
        if isinstance(reference, InputReference):
            return reference.name
        return self._part(self._outputs[reference.node], reference)

    def _value_or_none(self, reference: NodeReference, ran: frozenset[str]) -> Expression:
        """The same, None where the node has not run."""
        value = self._value(reference, ran)
        branch = self._branches[reference.node]
        if branch.runs == "never":
            return "None"
        if branch.runs == "always" or reference.node in ran or not reference.path:
            return value  # without a path the variable itself is None
        return Chain(
            (value, f"if {self._flag(said_by(reference.node, self._branches))}", "else None")
        )

    def _part(self, value: str, reference: NodeReference) -> str:
        """A part of a value: by brackets where it is known to be a mapping, else as references do."""
        gives = self._codes[reference.node].gives
        for number, step in enumerate(reference.path):
            is_known = (
                isinstance(step, int) or gives == "json" or (gives == "mapping" and number == 0)
            )
            if not is_known:
                steps = [
                    text(each) if isinstance(each, str) else str(each)
                    for each in reference.path[number:]
                ]
                return f"{self._parts.use('farthing.flows', 'pick')}({', '.join([value, *steps])})"
            value += f"[{text(step) if isinstance(step, str) else step}]"
        return value

    def _result(self, output: Output) -> Item:
        label = f"{text(output.name)}: "
        if output.reference is None:
            return Item(self._parts.literal(output.value), label)
        if isinstance(output.reference, InputReference):
            return Item(self._value(output.reference, _NOTHING), label)
        return Item(self._value_or_none(output.reference, _NOTHING), label)

    # --- behind all lines ---

    def needed(self) -> list[str]:
        """The nodes whose values are looked at behind all lines."""
        found = [each for code in self._aggregations() for each in code.node.sources()]
        return [name for name in dict.fromkeys(found) if name in self._branches]

    def behind(self) -> list[str]:
        """The statements behind all lines; `lines` is what there is of them. Empty when there are none."""
        made: list[str] = []
        codes = self._aggregations()
        used = {source for code in codes for source in code.node.sources()}
        for code in codes:
            items = [keyword(each.name, self._over_lines(each)) for each in code.arguments]
            name = code.node.name
            before = f"{self._outputs[name]} = await " if name in used else "await "
            made += lines(before, call(code.name, items), depth=1)
        return made

    def _over_lines(self, argument: Argument) -> Expression:
        reference = argument.reference
        if reference is None:
            return argument.value
        if isinstance(reference, InputReference):
            values = f"lines.inputs({text(reference.name)})"
            read = self._inputs.read(reference.name, "each")
            return values if read is None else _for_each(read, values)
        if reference.node not in self._branches:
            return self._part(self._outputs[reference.node], reference)
        values = f"lines.node({text(reference.node)})"
        if not reference.path:
            return values
        # A line that bypassed the node has no part of what it returned.
        part = flat(self._part("each", reference)) or "each"
        return _for_each(Chain(("None", "if each is None", f"else {part}")), values)

    def _aggregations(self) -> Sequence[NodeCode]:
        return [self._codes[node.name] for node in self._flow.nodes if node.is_aggregation]


def _for_each(value: Expression, values: str) -> Chain:
    """A list of the value, for each of the values."""
    return Chain((flat(value) or "each", f"for each in {values}"), is_list=True)
